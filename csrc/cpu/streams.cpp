// The operators on streams of activations for the CPU: summaries of units, lists of the best, counts of digits.
#include <torch/csrc/stable/library.h>

#include <cstdint>
#include <tuple>

#include "check_streams.h"
#include "cpu/parallel.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/radix_counts.h"
#include "kernels/cpu/top_k.h"
#include "kernels/cpu/unit_summary.h"
#include "tensors.h"

namespace captum_proto {
namespace {

/// (U, A, B), of which `unit`, `outer` and `inner` say which axis is which.
template <class T>
UnitValues<T> unit_values(const Tensor& values, int unit, int outer, int inner) {
  return UnitValues<T>{data<T>(values),     values.size(unit),    values.size(outer),  values.size(inner),
                       values.stride(unit), values.stride(outer), values.stride(inner)};
}

template <class T>
UnitColumns<T> columns_of(const Tensor& tensor) {
  return UnitColumns<T>{data<T>(tensor), tensor.stride(0), tensor.stride(1)};
}

std::tuple<Tensor, Tensor, Tensor> unit_summary(const Tensor& values) {
  check_axes(values, "(N, C, P)");
  const int64_t images = values.size(0), units = values.size(1), positions = values.size(2);
  require(positions > 0, "values have the shape ", ShapeOf{values}, "; expected at least one position.");
  const ScalarType wide = values.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  Tensor largest = empty({images, units}, wide, values), mean = empty({images, units}, wide, values);
  Tensor position = empty({images, units}, ScalarType::Long, values);
  with_floating_type<Half, BFloat16>(values, "values", [&](auto type) {
    using T = decltype(type);
    const UnitValues<T> x = unit_values<T>(values, 1, 0, 2);
    const SummaryOutputs<WideOf<T>> out{mutable_data<WideOf<T>>(largest), mutable_data<int64_t>(position),
                                        mutable_data<WideOf<T>>(mean)};
    if (x.unit_stride == 1 && x.inner_stride != 1 && positions > 1) {
      const int64_t tiles = (units + kUnitTile - 1) / kUnitTile;
      in_parallel(images * tiles, positions * kUnitTile,
                  [=](int64_t begin, int64_t end) { run<&unit_summaries_side_by_side<T>>(x, begin, end, out); });
    } else {
      in_parallel(images * units, positions, [=](int64_t begin, int64_t end) { run<&unit_summaries<T>>(x, begin, end, out); });
    }
  });
  return {largest, position, mean};
}

void top_k(Tensor scores, Tensor indices, Tensor payload, const Tensor& new_scores, const Tensor& new_indices,
           const Tensor& new_payload, bool largest) {
  check_lists(scores, indices, payload, new_scores, new_indices, new_payload);
  const int64_t rows = new_scores.size(0);
  with_float_or_double(scores, [&](auto type) {
    using T = decltype(type);
    const TopLists<T> lists{mutable_data<T>(scores), mutable_data<int64_t>(indices), mutable_data<int64_t>(payload),
                            scores.size(1)};
    const UnitColumns<T> score = columns_of<T>(new_scores);
    const UnitColumns<int64_t> index = columns_of<int64_t>(new_indices), load = columns_of<int64_t>(new_payload);
    in_parallel(scores.size(0), rows, [=](int64_t begin, int64_t end) {
      if (largest) {
        run<&top_k_units<T, true>>(lists, score, index, load, rows, begin, end);
      } else {
        run<&top_k_units<T, false>>(lists, score, index, load, rows, begin, end);
      }
    });
  });
}

void radix_histogram(Tensor counts, const Tensor& values) {
  with_floating_type<Half, BFloat16>(values, "values", [&](auto type) {
    using T = decltype(type);
    check_counts(counts, values, DigitsOf<T>::type::kSignedBins);
    const UnitValues<T> x = unit_values<T>(values, 0, 1, 2);
    const auto count = [&](auto* out) {
      using Count = std::remove_pointer_t<decltype(out)>;
      in_parallel(x.units, x.outer * x.inner,
                  [=](int64_t begin, int64_t end) { run<&radix_histogram_units<T, Count>>(x, begin, end, out); });
    };
    if (counts.scalar_type() == ScalarType::Long) {
      count(mutable_data<int64_t>(counts));
    } else {
      count(mutable_data<int32_t>(counts));
    }
  });
}

void radix_select(Tensor counts, Tensor filled, Tensor kept, const Tensor& values, const Tensor& first, const Tensor& slots) {
  check_selection(counts, filled, kept, values, first, slots);
  with_floating_type<Half, BFloat16>(values, "values", [&](auto type) {
    using T = decltype(type);
    const UnitValues<T> x = unit_values<T>(values, 0, 1, 2);
    const Selection<T> selection{data<int64_t>(first),          data<int64_t>(slots), slots.size(0),
                                 mutable_data<int64_t>(counts), counts.size(0),       mutable_data<int64_t>(filled),
                                 mutable_data<T>(kept),         kept.size(0)};
    in_parallel(x.units, x.outer * x.inner,
                [=, &selection](int64_t begin, int64_t end) { run<&radix_select_units<T>>(x, begin, end, &selection); });
  });
}

}  // namespace
}  // namespace captum_proto

STABLE_TORCH_LIBRARY_IMPL(captum_proto, CPU, library) {
  using namespace captum_proto;
  library.impl("unit_summary", TORCH_BOX(&unit_summary));
  library.impl("top_k", TORCH_BOX(&top_k));
  library.impl("radix_histogram", TORCH_BOX(&radix_histogram));
  library.impl("radix_select", TORCH_BOX(&radix_select));
}
