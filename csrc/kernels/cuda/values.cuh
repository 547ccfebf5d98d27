// The number types of the operators' inputs, and strided views of them.
#pragma once

#include "platform.cuh"

namespace captum_proto::cuda {

struct Half {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

/// The type in which differences are taken: float for half types.
template <typename T>
struct WideOf {
  using type = float;
};
template <>
struct WideOf<double> {
  using type = double;
};
template <typename T>
using Wide = typename WideOf<T>::type;

__device__ __forceinline__ float widen(float value) { return value; }
__device__ __forceinline__ double widen(double value) { return value; }
__device__ __forceinline__ float widen(Half value) { return float_of_half_bits(value.bits); }
__device__ __forceinline__ float widen(BFloat16 value) { return __uint_as_float(static_cast<uint32_t>(value.bits) << 16); }

/// `value` rounded to the nearest T, ties to even.
template <typename T>
__device__ __forceinline__ T narrow(Wide<T> value) {
  return value;
}
template <>
__device__ __forceinline__ Half narrow<Half>(float value) {
  return Half{half_bits_of_float(value)};
}
template <>
__device__ __forceinline__ BFloat16 narrow<BFloat16>(float value) {
  const uint32_t bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return BFloat16{0x7fff};  // rounding up could turn a NaN into an infinity
  return BFloat16{static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

// Sums and products that are never fused with one another, so that every build rounds alike.
__device__ __forceinline__ float multiply(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ double multiply(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ float add(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ double add(double a, double b) { return __dadd_rn(a, b); }

/// A matrix with any strides. One row that all rows share has row_stride 0.
template <typename T>
struct Rows {
  const T* data;
  int64_t row_stride;
  int64_t stride;

  __device__ __forceinline__ T at(int64_t row, int64_t column) const { return data[row * row_stride + column * stride]; }
};

}  // namespace captum_proto::cuda
