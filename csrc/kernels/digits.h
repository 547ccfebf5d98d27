// The bins of a first histogram over floating-point values: captum_proto/ops/_digits.py in C++. A test keeps the two equal.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define CAPTUM_PROTO_EVERYWHERE __host__ __device__ __forceinline__
#else
#define CAPTUM_PROTO_EVERYWHERE inline
#endif

namespace captum_proto {

/// Bins of magnitudes, the bits below the sign: 32nds of an octave from one exponent to another, and groups of octaves outside.
/// Zero has a bin of its own, the lowest, and NaN another, the highest.
template <class Magnitude, int kSignificandBits, unsigned kLowExponent, unsigned kHighExponent, unsigned kLargestExponent,
          int kOctaveBits>
struct Digits {
  static constexpr Magnitude kLow = Magnitude{kLowExponent} << kSignificandBits;
  static constexpr Magnitude kHigh = Magnitude{kHighExponent} << kSignificandBits;
  static constexpr Magnitude kInfinity = Magnitude{kLargestExponent} << kSignificandBits;
  static constexpr int kFine = kSignificandBits - 5;
  static constexpr int kCoarse = kSignificandBits + kOctaveBits;
  /// The bin of NaN, counted from that of zero.
  static constexpr std::int32_t kLast =
      static_cast<std::int32_t>((kLow >> kCoarse) + ((kHigh - kLow) >> kFine) + ((kInfinity + 1 - kHigh) >> kCoarse)) + 2;
  /// For both signs.
  static constexpr std::int32_t kSignedBins = 2 * kLast + 1;

  static CAPTUM_PROTO_EVERYWHERE std::int32_t of_magnitude(Magnitude magnitude) {
    const Magnitude low = magnitude > kLow ? kLow : magnitude;
    const Magnitude high = magnitude > kHigh ? magnitude : kHigh;
    const Magnitude middle = (magnitude > kLow ? magnitude : kLow) - (high - kHigh) - kLow;
    return static_cast<std::int32_t>((low >> kCoarse) + (middle >> kFine) + ((high - kHigh) >> kCoarse)) + (magnitude != 0) +
           (magnitude > kInfinity);
  }
};

using HalfDigits = Digits<std::uint32_t, 10, 0, 31, 31, 0>;
using BFloat16Digits = Digits<std::uint32_t, 7, 112, 144, 255, 0>;
using FloatDigits = Digits<std::uint32_t, 23, 112, 144, 255, 0>;
using DoubleDigits = Digits<std::uint64_t, 52, 1008, 1040, 2047, 3>;

/// The columns of a slot, see ops.radix_select.
enum SlotColumn { kSlotLow, kSlotWidth, kSlotShift, kSlotOffset, kSlotRoom, kSlotColumns };

/// As many partial sums make up a unit's sum over positions, position p adding to sum p modulo this: on every device alike.
constexpr int kSummaryLanes = 32;

}  // namespace captum_proto
