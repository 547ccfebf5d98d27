// What the operators on streams of activations expect of their arguments, on every device.
#pragma once

#include "kernels/digits.h"
#include "tensors.h"

namespace captum_proto {

inline void check_axes(const Tensor& values, const char* axes) {
  require(values.dim() == 3, "values have the shape ", ShapeOf{values}, "; expected ", axes, ".");
}

inline void check_filled(const Tensor& tensor, const char* name, ScalarType dtype, const Tensor& beside) {
  require(tensor.is_contiguous() && tensor.scalar_type() == dtype, name, " must be contiguous and of the dtype that is expected.");
  check_same_device(tensor, name, beside, "the values");
}

inline void check_lists(const Tensor& scores, const Tensor& indices, const Tensor& payload, const Tensor& new_scores,
                        const Tensor& new_indices, const Tensor& new_payload) {
  require(scores.dim() == 2 && scores.size(1) > 0 && is_float_or_double(scores), "scores have the shape ", ShapeOf{scores},
          "; expected (U, k) in float32 or float64, k at least 1.");
  check_filled(scores, "scores", new_scores.scalar_type(), new_scores);
  check_filled(indices, "indices", ScalarType::Long, new_scores);
  check_filled(payload, "payload", ScalarType::Long, new_scores);
  for (const Tensor* list : {&indices, &payload})
    require(list->dim() == 2 && list->size(0) == scores.size(0) && list->size(1) == scores.size(1), "a list has the shape ",
            ShapeOf{*list}, "; expected that of scores, ", ShapeOf{scores}, ".");
  for (const Tensor* entries : {&new_scores, &new_indices, &new_payload}) {
    require(entries->dim() == 2 && entries->size(0) == new_scores.size(0) && entries->size(1) == scores.size(0),
            "new entries have the shape ", ShapeOf{*entries}, "; expected (N, ", scores.size(0), ").");
    check_same_device(*entries, "new entries", scores, "the lists");
  }
  require(new_indices.scalar_type() == ScalarType::Long && new_payload.scalar_type() == ScalarType::Long,
          "new indices and payloads must be int64.");
}

inline void check_counts(const Tensor& counts, const Tensor& values, int64_t bins) {
  check_axes(values, "(U, A, B)");
  const bool wide = counts.scalar_type() == ScalarType::Long;
  check_filled(counts, "counts", wide ? ScalarType::Long : ScalarType::Int, values);
  require(counts.dim() == 2 && counts.size(0) == values.size(0) && counts.size(1) == bins, "counts have the shape ",
          ShapeOf{counts}, "; expected (", values.size(0), ", ", bins, ").");
}

inline void check_selection(const Tensor& counts, const Tensor& filled, const Tensor& kept, const Tensor& values,
                            const Tensor& first, const Tensor& slots) {
  check_axes(values, "(U, A, B)");
  check_filled(counts, "counts", ScalarType::Long, values);
  check_filled(filled, "filled", ScalarType::Long, values);
  check_filled(kept, "kept", values.scalar_type(), values);
  check_filled(first, "first", ScalarType::Long, values);
  check_filled(slots, "slots", ScalarType::Long, values);
  require(counts.dim() == 1 && filled.dim() == 1 && kept.dim() == 1, "counts, filled and kept must have one dimension.");
  require(first.dim() == 1 && first.size(0) == values.size(0) + 1, "first has the shape ", ShapeOf{first}, "; expected (",
          values.size(0) + 1, ",).");
  require(slots.dim() == 2 && slots.size(0) == filled.size(0) && slots.size(1) == kSlotColumns, "slots have the shape ",
          ShapeOf{slots}, "; expected (", filled.size(0), ", ", static_cast<int>(kSlotColumns), ").");
}

}  // namespace captum_proto
