// The operators on rows for CUDA: rank, Spearman's correlation, path distance, running sums.
#include <torch/csrc/stable/library.h>

#include <cstdint>
#include <tuple>

#include "check_rows.h"
#include "cuda/device.cuh"
#include "cuda/plan.cuh"
#include "kernels/cuda/accumulate.cuh"
#include "kernels/cuda/path_distance.cuh"
#include "tensors.h"

namespace captum_proto {
namespace {

using cuda::BFloat16;
using cuda::Half;
using cuda::Rows;

template <typename T>
Rows<T> rows_of(const Tensor& tensor) {
  const bool shared = tensor.dim() == 1;
  return Rows<T>{data<T>(tensor), shared ? 0 : tensor.stride(0), tensor.stride(shared ? 0 : 1)};
}

Tensor doubled_rank(const Tensor& x) {
  check_rows(x, "x");
  const OnDeviceOf device(x);
  TensorScratch scratch(x);
  Tensor ranks = empty({x.size(0), x.size(1)}, ScalarType::Int, x);
  with_floating_type<Half, BFloat16>(x, "x", [&](auto type) {
    using T = decltype(type);
    cuda::doubled_rank(rows_of<T>(x), x.size(0), static_cast<int>(x.size(1)), mutable_data<int32_t>(ranks), plan(), scratch,
                       device.stream);
  });
  return ranks;
}

Tensor rank(const Tensor& x) {
  check_rows(x, "x");
  const OnDeviceOf device(x);
  TensorScratch scratch(x);
  Tensor ranks = empty({x.size(0), x.size(1)}, ScalarType::Double, x);
  with_floating_type<Half, BFloat16>(x, "x", [&](auto type) {
    using T = decltype(type);
    cuda::rank(rows_of<T>(x), x.size(0), static_cast<int>(x.size(1)), mutable_data<double>(ranks), plan(), scratch, device.stream);
  });
  return ranks;
}

Tensor spearman(const Tensor& x, const Tensor& doubled_ranks) {
  check_rows(x, "x");
  check_doubled_ranks(doubled_ranks, x);
  const OnDeviceOf device(x);
  TensorScratch scratch(x);
  Tensor result = empty({x.size(0)}, ScalarType::Double, x);
  const Rows<int32_t> reference = rows_of<int32_t>(doubled_ranks);
  const int64_t reference_rows = reference.row_stride == 0 ? 1 : x.size(0);
  with_floating_type<Half, BFloat16>(x, "x", [&](auto type) {
    using T = decltype(type);
    cuda::spearman(rows_of<T>(x), reference, reference_rows, x.size(0), static_cast<int>(x.size(1)), mutable_data<double>(result),
                   plan(), scratch, device.stream);
  });
  return result;
}

std::tuple<Tensor, Tensor> path_distance(const Tensor& x, const Tensor& mean, const Tensor& doubled_ranks) {
  check_rows(x, "x");
  check_doubled_ranks(doubled_ranks, x);
  check_mean(mean, x);
  const OnDeviceOf device(x);
  TensorScratch scratch(x);
  Tensor correlation = empty({x.size(0)}, ScalarType::Double, x);
  Tensor distance = empty({x.size(0)}, ScalarType::Double, x);
  const Rows<int32_t> reference = rows_of<int32_t>(doubled_ranks);
  const int64_t reference_rows = reference.row_stride == 0 ? 1 : x.size(0);
  with_floating_type<Half, BFloat16>(x, "x", [&](auto type) {
    using T = decltype(type);
    with_float_or_double(mean, [&](auto mean_type) {
      cuda::path_distance(rows_of<T>(x), rows_of<decltype(mean_type)>(mean), reference, reference_rows, x.size(0),
                          static_cast<int>(x.size(1)), mutable_data<double>(correlation), mutable_data<double>(distance), plan(),
                          scratch, device.stream);
    });
  });
  return {correlation, distance};
}

void accumulate(Tensor sums, const Tensor& rows) {
  check_rows(rows, "rows");
  check_sums(sums, rows);
  const OnDeviceOf device(rows);
  double* const out = mutable_data<double>(sums);
  with_floating_type<Half, BFloat16>(rows, "rows", [&](auto type) {
    cuda::accumulate(rows_of<decltype(type)>(rows), rows.size(0), rows.size(1), out, device.stream);
  });
}

}  // namespace
}  // namespace captum_proto

STABLE_TORCH_LIBRARY_IMPL(captum_proto, CUDA, library) {
  using namespace captum_proto;
  library.impl("doubled_rank", TORCH_BOX(&doubled_rank));
  library.impl("rank", TORCH_BOX(&rank));
  library.impl("spearman", TORCH_BOX(&spearman));
  library.impl("path_distance", TORCH_BOX(&path_distance));
  library.impl("accumulate", TORCH_BOX(&accumulate));
}
