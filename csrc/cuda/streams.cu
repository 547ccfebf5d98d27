// The operators on streams of activations for CUDA: summaries of units, lists of the best, counts of digits.
#include <torch/csrc/stable/library.h>

#include <cstdint>
#include <tuple>

#include "check_streams.h"
#include "cuda/device.cuh"
#include "kernels/cuda/radix_counts.cuh"
#include "kernels/cuda/top_k.cuh"
#include "kernels/cuda/unit_summary.cuh"
#include "tensors.h"

namespace captum_proto {
namespace {

using cuda::BFloat16;
using cuda::Half;

template <typename T>
cuda::UnitValues<T> unit_values(const Tensor& values, int unit, int outer, int inner) {
  return cuda::UnitValues<T>{data<T>(values),     values.size(unit),    values.size(outer),  values.size(inner),
                             values.stride(unit), values.stride(outer), values.stride(inner)};
}

template <typename T>
cuda::Rows<T> rows_of(const Tensor& tensor) {
  return cuda::Rows<T>{data<T>(tensor), tensor.stride(0), tensor.stride(1)};
}

std::tuple<Tensor, Tensor, Tensor> unit_summary(const Tensor& values) {
  check_axes(values, "(N, C, P)");
  const int64_t images = values.size(0), units = values.size(1);
  require(values.size(2) > 0, "values have the shape ", ShapeOf{values}, "; expected at least one position.");
  const OnDeviceOf device(values);
  const ScalarType wide = values.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  Tensor largest = empty({images, units}, wide, values), mean = empty({images, units}, wide, values);
  Tensor position = empty({images, units}, ScalarType::Long, values);
  with_floating_type<Half, BFloat16>(values, "values", [&](auto type) {
    using T = decltype(type);
    using W = cuda::Wide<T>;
    const cuda::SummaryOutputs<W> out{mutable_data<W>(largest), mutable_data<int64_t>(position), mutable_data<W>(mean)};
    cuda::unit_summary(unit_values<T>(values, 1, 0, 2), out, device.stream);
  });
  return {largest, position, mean};
}

void top_k(Tensor scores, Tensor indices, Tensor payload, const Tensor& new_scores, const Tensor& new_indices,
           const Tensor& new_payload, bool largest) {
  check_lists(scores, indices, payload, new_scores, new_indices, new_payload);
  const OnDeviceOf device(scores);
  with_float_or_double(scores, [&](auto type) {
    using T = decltype(type);
    const cuda::TopLists<T> lists{mutable_data<T>(scores), mutable_data<int64_t>(indices), mutable_data<int64_t>(payload),
                                  scores.size(0), scores.size(1)};
    cuda::top_k(lists, rows_of<T>(new_scores), rows_of<int64_t>(new_indices), rows_of<int64_t>(new_payload), new_scores.size(0),
                largest, device.stream);
  });
}

void radix_histogram(Tensor counts, const Tensor& values) {
  with_floating_type<Half, BFloat16>(values, "values", [&](auto type) {
    using T = decltype(type);
    check_counts(counts, values, cuda::DigitsOf<T>::type::kSignedBins);
    const OnDeviceOf device(values);
    const cuda::UnitValues<T> x = unit_values<T>(values, 0, 1, 2);
    if (counts.scalar_type() == ScalarType::Long) {
      cuda::radix_histogram(x, mutable_data<int64_t>(counts), device.stream);
    } else {
      cuda::radix_histogram(x, mutable_data<int32_t>(counts), device.stream);
    }
  });
}

void radix_select(Tensor counts, Tensor filled, Tensor kept, const Tensor& values, const Tensor& first, const Tensor& slots) {
  check_selection(counts, filled, kept, values, first, slots);
  const OnDeviceOf device(values);
  with_floating_type<Half, BFloat16>(values, "values", [&](auto type) {
    using T = decltype(type);
    const cuda::Selection<T> selection{data<int64_t>(first),          data<int64_t>(slots), slots.size(0),
                                       mutable_data<int64_t>(counts), counts.size(0),       mutable_data<int64_t>(filled),
                                       mutable_data<T>(kept),         kept.size(0)};
    cuda::radix_select(unit_values<T>(values, 0, 1, 2), selection, device.stream);
  });
}

}  // namespace
}  // namespace captum_proto

STABLE_TORCH_LIBRARY_IMPL(captum_proto, CUDA, library) {
  using namespace captum_proto;
  library.impl("unit_summary", TORCH_BOX(&unit_summary));
  library.impl("top_k", TORCH_BOX(&top_k));
  library.impl("radix_histogram", TORCH_BOX(&radix_histogram));
  library.impl("radix_select", TORCH_BOX(&radix_select));
}
