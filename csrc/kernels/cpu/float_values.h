// Values of any supported format as float or double, and back.
#pragma once

#include <cstdint>
#include <cstring>

#include "float_keys.h"

namespace captum_proto {

inline float float_from_bits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline std::uint32_t bits_of_float(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

/// The value in the type in which its differences are taken: float for half types, else its own.
inline double widen(double value) { return value; }
inline float widen(float value) { return value; }
inline float widen(BFloat16 value) { return float_from_bits(std::uint32_t{value.bits} << 16); }
inline float widen(Half value) {
  // Choices are made with masks: branches would be mispredicted after a ReLU, and keep compilers from vectorizing.
  const auto if_true = [](bool condition, std::uint32_t bits) { return (0u - static_cast<std::uint32_t>(condition)) & bits; };
  const std::uint32_t sign = std::uint32_t{value.bits & 0x8000u} << 16;
  const std::uint32_t magnitude = value.bits & 0x7fffu;
  // From bias 15 to bias 127; infinities and NaN once more, up to the exponent that is all ones.
  const std::uint32_t rebias = 112u << 23;
  const std::uint32_t normal = (magnitude << 13) + rebias + if_true(magnitude >= FloatFormat<Half>::kInfinity, rebias);
  // Subnormal halves count steps of 2^-24. Converted as integers, so that a process that flushes subnormals does not lose them.
  const std::uint32_t subnormal = bits_of_float(static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f);
  const bool is_normal = magnitude >= 0x400u;
  return float_from_bits(sign | if_true(is_normal, normal) | if_true(!is_normal, subnormal));
}

/// `value` in the type T, rounded to nearest, ties to even.
template <class T>
struct Narrow;
template <>
struct Narrow<double> {
  static double from(double value) { return value; }
};
template <>
struct Narrow<float> {
  static float from(float value) { return value; }
};
template <>
struct Narrow<BFloat16> {
  static BFloat16 from(float value) {
    const std::uint32_t bits = bits_of_float(value);
    const std::uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
    return BFloat16{static_cast<std::uint16_t>(is_nan ? (bits >> 16 | 0x40u) : rounded)};
  }
};
template <>
struct Narrow<Half> {
  static Half from(float value) {
    const std::uint32_t bits = bits_of_float(value);
    const std::uint32_t sign = bits >> 16 & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    std::uint32_t half;
    if (magnitude > 0x7f800000u) {
      half = 0x7e00u;
    } else if (magnitude >= 0x47800000u) {  // 65,536 and up
      half = 0x7c00u;
    } else if (magnitude >= 0x38800000u) {  // 2^-14, the smallest normal half; a carry runs into the exponent, up to infinity
      half = (magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1)) >> 13;
    } else if (magnitude >= 0x33000000u) {  // 2^-25, half a step of the subnormals
      const std::uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
      const std::uint32_t shift = 126u - (magnitude >> 23);
      half = significand >> shift;
      const std::uint32_t rest = significand & ((1u << shift) - 1), middle = 1u << (shift - 1);
      half += rest > middle || (rest == middle && (half & 1));
    } else {
      half = 0;
    }
    return Half{static_cast<std::uint16_t>(sign | half)};
  }
};

}  // namespace captum_proto
