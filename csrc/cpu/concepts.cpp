// The operators on concepts for the CPU.
#include <torch/csrc/stable/library.h>

#include <cstdint>

#include "check_concepts.h"
#include "cpu/parallel.h"
#include "kernels/cpu/concept_counts.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/packed_counts.h"
#include "tensors.h"

namespace captum_proto {
namespace {

Tensor unit_concept_counts(Tensor counts, const Tensor& activations, const Tensor& thresholds, const Tensor& labels,
                           bool align_corners) {
  check_concepts(counts, activations, thresholds, labels);
  const int64_t images = activations.size(0), units = activations.size(1);
  Tensor hits = empty({images, units}, ScalarType::Long, activations);
  const Enlarged enlarged{EnlargedAxis(activations.size(2), labels.size(2), align_corners),
                          EnlargedAxis(activations.size(3), labels.size(3), align_corners)};
  const LabelMaps maps{data<int16_t>(labels), labels.size(1), labels.size(2), labels.size(3), counts.size(1)};
  const double* limits = data<double>(thresholds);
  int64_t* of_units = mutable_data<int64_t>(counts);
  int64_t* of_images = mutable_data<int64_t>(hits);
  with_float_or_double(activations, [&](auto type) {
    using T = decltype(type);
    const ActivationMaps<T> x{data<T>(activations),
                              images,
                              units,
                              activations.size(2),
                              activations.size(3),
                              activations.stride(0),
                              activations.stride(1),
                              activations.stride(2),
                              activations.stride(3)};
    in_parallel(units, images * x.height * x.width, [=, &enlarged](int64_t begin, int64_t end) {
      run<&concept_counts_units<T>>(x, limits, maps, &enlarged, of_units, of_images, begin, end);
    });
  });
  return hits;
}

PackedRows packed_rows(const Tensor& masks) {
  return PackedRows{data<int64_t>(masks), masks.size(0), masks.size(1), masks.stride(0)};
}

Tensor packed_counts(const Tensor& a, const Tensor& b) {
  check_packed(a, b);
  Tensor counts = empty({a.size(0), b.size(0)}, ScalarType::Long, a);
  const PackedRows of_a = packed_rows(a), of_b = packed_rows(b);
  int64_t* out = mutable_data<int64_t>(counts);
  in_parallel(
      a.size(0), b.size(0) * a.size(1), [=](int64_t begin, int64_t end) { run_packed_counts(of_a, of_b, out, begin, end); },
      kWordsPerThread);
  return counts;
}

}  // namespace
}  // namespace captum_proto

STABLE_TORCH_LIBRARY_IMPL(captum_proto, CPU, library) {
  using namespace captum_proto;
  library.impl("unit_concept_counts", TORCH_BOX(&unit_concept_counts));
  library.impl("packed_counts", TORCH_BOX(&packed_counts));
}
