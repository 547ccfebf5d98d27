// Unsigned integers that order as floating-point values do, with -0 equal to +0.
#pragma once

#include "values.cuh"

namespace captum_proto::cuda {

template <typename T>
struct Format;
template <>
struct Format<Half> {
  using Bits = uint16_t;
  static constexpr Bits kInfinity = 0x7c00;
};
template <>
struct Format<BFloat16> {
  using Bits = uint16_t;
  static constexpr Bits kInfinity = 0x7f80;
};
template <>
struct Format<float> {
  using Bits = uint32_t;
  static constexpr Bits kInfinity = 0x7f800000u;
};
template <>
struct Format<double> {
  using Bits = uint64_t;
  static constexpr Bits kInfinity = 0x7ff0000000000000u;
};

template <typename T>
using Bits = typename Format<T>::Bits;

template <typename T>
constexpr int kKeyBits = 8 * static_cast<int>(sizeof(Bits<T>));

/// The sign bit, which is also the key of zero.
template <typename T>
constexpr Bits<T> kSign = static_cast<Bits<T>>(Bits<T>{1} << (kKeyBits<T> - 1));

__device__ __forceinline__ uint16_t bits_of(Half value) { return value.bits; }
__device__ __forceinline__ uint16_t bits_of(BFloat16 value) { return value.bits; }
__device__ __forceinline__ uint32_t bits_of(float value) { return __float_as_uint(value); }
__device__ __forceinline__ uint64_t bits_of(double value) { return static_cast<uint64_t>(__double_as_longlong(value)); }

template <typename T>
__device__ __forceinline__ Bits<T> sort_key(T value) {
  const Bits<T> bits = bits_of(value);
  if (bits == kSign<T>) return kSign<T>;  // -0, with the key of +0
  // A negative float's bits rise as the value falls.
  return static_cast<Bits<T>>((bits & kSign<T>) != 0 ? ~bits : bits | kSign<T>);
}

template <typename T>
__device__ __forceinline__ bool is_nan(T value) {
  return static_cast<Bits<T>>(bits_of(value) & ~kSign<T>) > Format<T>::kInfinity;
}

}  // namespace captum_proto::cuda
