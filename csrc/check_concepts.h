// What the operators on concepts expect of their arguments, on every device.
#pragma once

#include "check_streams.h"
#include "tensors.h"

namespace captum_proto {

inline void check_concepts(const Tensor& counts, const Tensor& activations, const Tensor& thresholds, const Tensor& labels) {
  require(activations.dim() == 4 && is_float_or_double(activations) && activations.size(2) > 0 && activations.size(3) > 0,
          "activations have the shape ", ShapeOf{activations},
          "; expected (N, U, h, w) in float32 or float64, with at least one place.");
  check_filled(counts, "counts", ScalarType::Long, activations);
  check_filled(thresholds, "thresholds", ScalarType::Double, activations);
  check_filled(labels, "labels", ScalarType::Short, activations);
  require(counts.dim() == 2 && counts.size(0) == activations.size(1) && counts.size(1) > 0, "counts have the shape ",
          ShapeOf{counts}, "; expected (", activations.size(1), ", concepts and one).");
  require(thresholds.dim() == 1 && thresholds.size(0) == activations.size(1), "thresholds have the shape ", ShapeOf{thresholds},
          "; expected (", activations.size(1), ",).");
  require(labels.dim() == 4 && labels.size(0) == activations.size(0) && labels.size(2) > 0 && labels.size(3) > 0,
          "labels have the shape ", ShapeOf{labels}, "; expected (", activations.size(0), ", M, H, W), with at least one pixel.");
}

inline void check_packed(const Tensor& a, const Tensor& b) {
  for (const Tensor* masks : {&a, &b}) {
    require(masks->dim() == 2 && masks->scalar_type() == ScalarType::Long, "masks have the shape ", ShapeOf{*masks},
            "; expected (rows, words) in int64.");
    require(masks->size(1) < 2 || masks->stride(1) == 1, "the words of a mask must lie side by side.");
  }
  require(a.size(1) == b.size(1), "masks have ", a.size(1), " and ", b.size(1), " words; expected as many.");
  require(a.size(1) < (int64_t{1} << 25), "masks have ", a.size(1), " words; expected fewer than 2^25.");
  check_same_device(a, "the first masks", b, "the second");
}

}  // namespace captum_proto
