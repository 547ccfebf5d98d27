// The operators on concepts for CUDA.
#include <torch/csrc/stable/library.h>

#include <cstdint>

#include "check_concepts.h"
#include "cuda/device.cuh"
#include "kernels/cuda/concept_counts.cuh"
#include "kernels/cuda/packed_counts.cuh"
#include "tensors.h"

namespace captum_proto {
namespace {

Tensor unit_concept_counts(Tensor counts, const Tensor& activations, const Tensor& thresholds, const Tensor& labels,
                           bool align_corners) {
  check_concepts(counts, activations, thresholds, labels);
  const OnDeviceOf device(activations);
  Tensor hits = empty({activations.size(0), activations.size(1)}, ScalarType::Long, activations);
  const cuda::LabelMaps maps{data<int16_t>(labels), labels.size(1), labels.size(2), labels.size(3), counts.size(1)};
  with_float_or_double(activations, [&](auto type) {
    using T = decltype(type);
    const cuda::ActivationMaps<T> x{data<T>(activations),  activations.size(0),   activations.size(1),
                                    activations.size(2),   activations.size(3),   activations.stride(0),
                                    activations.stride(1), activations.stride(2), activations.stride(3)};
    cuda::concept_counts(x, data<double>(thresholds), maps, align_corners, mutable_data<int64_t>(counts),
                         mutable_data<int64_t>(hits), device.stream);
  });
  return hits;
}

cuda::PackedRows packed_rows(const Tensor& masks) {
  return cuda::PackedRows{data<int64_t>(masks), masks.size(0), masks.size(1), masks.stride(0)};
}

Tensor packed_counts(const Tensor& a, const Tensor& b) {
  check_packed(a, b);
  const OnDeviceOf device(a);
  Tensor counts = empty({a.size(0), b.size(0)}, ScalarType::Long, a);
  cuda::packed_counts(packed_rows(a), packed_rows(b), mutable_data<int64_t>(counts), device.stream);
  return counts;
}

}  // namespace
}  // namespace captum_proto

STABLE_TORCH_LIBRARY_IMPL(captum_proto, CUDA, library) {
  using namespace captum_proto;
  library.impl("unit_concept_counts", TORCH_BOX(&unit_concept_counts));
  library.impl("packed_counts", TORCH_BOX(&packed_counts));
}
