// Everything that differs between nvcc and the host on which the tests execute these kernels: tests/native/cuda_on_host.h
// offers the same names to a C++ compiler. Kernels use CUDA's own names, and the few of this file.
#pragma once

#if defined(__CUDACC__)

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

/// A variable of the thread block, not initialized.
#define CAPTUM_PROTO_SHARED(type, name) __shared__ type name

namespace captum_proto::cuda {

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    throw std::runtime_error(std::string("captum_proto: ") + what + " failed on the GPU: " + cudaGetErrorString(status));
  }
}

/// The block's memory whose size the launch gives.
template <typename T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char captum_proto_shared_bytes[];
  return reinterpret_cast<T*>(captum_proto_shared_bytes);
}

template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared_bytes, cudaStream_t stream,
            const Arguments&... arguments) {
  if (blocks == 0) return;  // an empty grid is an error to CUDA, and nothing to do here
  kernel<<<dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), shared_bytes, stream>>>(
      static_cast<Parameters>(arguments)...);
  check(cudaGetLastError(), name);
}

inline void fill_zero(void* data, size_t bytes, cudaStream_t stream) {
  if (bytes > 0) check(cudaMemsetAsync(data, 0, bytes, stream), "clearing scratch memory");
}

__device__ __forceinline__ float float_of_half_bits(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
__device__ __forceinline__ uint16_t half_bits_of_float(float value) { return __half_as_ushort(__float2half_rn(value)); }

}  // namespace captum_proto::cuda

#elif !defined(CAPTUM_PROTO_CUDA_ON_HOST)
#error "Compile this with nvcc, or include tests/native/cuda_on_host.h before it."
#endif

namespace captum_proto::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kWarp = 32;
/// Threads of a block, where a kernel has no reason for another number.
constexpr int kBlockThreads = 256;

/// Blocks for `tasks`, one each as far as a grid reaches; kernels loop over the rest.
inline int64_t grid_for(int64_t tasks) {
  constexpr int64_t kLargestGrid = int64_t{1} << 30;
  return tasks < kLargestGrid ? tasks : kLargestGrid;
}

__host__ __device__ constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

__device__ __forceinline__ int lane_of_thread() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ __forceinline__ int warp_of_thread() { return static_cast<int>(threadIdx.x) / kWarp; }
__device__ __forceinline__ int warps_of_block() { return static_cast<int>(blockDim.x) / kWarp; }

}  // namespace captum_proto::cuda
