// Floats as integers that can be sorted: the values of a row, squeezed into as few bits as the row needs.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "dispatch.h"

namespace captum_proto {

/// 16-bit floats as they lie in memory.
struct Half {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};

/// Every format here is a sign bit above a magnitude whose integer order is the order of the absolute values.
template <class T>
struct FloatFormat;
template <>
struct FloatFormat<Half> {
  using Bits = std::uint16_t;
  using Key = std::uint32_t;
  static constexpr Key kInfinity = 0x7c00;
};
template <>
struct FloatFormat<BFloat16> {
  using Bits = std::uint16_t;
  using Key = std::uint32_t;
  static constexpr Key kInfinity = 0x7f80;
};
template <>
struct FloatFormat<float> {
  using Bits = std::uint32_t;
  using Key = std::uint32_t;
  static constexpr Key kInfinity = 0x7f800000;
};
template <>
struct FloatFormat<double> {
  using Bits = std::uint64_t;
  using Key = std::uint64_t;
  static constexpr Key kInfinity = 0x7ff0000000000000;
};

template <class T>
using KeyOf = typename FloatFormat<T>::Key;

/// A value taken apart. Both zeros have magnitude 0; whether they are negative does not matter to anyone.
template <class T>
struct SignMagnitude {
  using Bits = typename FloatFormat<T>::Bits;
  static constexpr int kSignShift = 8 * sizeof(Bits) - 1;
  static constexpr KeyOf<T> kMagnitudeMask = (KeyOf<T>{1} << kSignShift) - 1;

  explicit SignMagnitude(const T& value) {
    Bits bits;
    std::memcpy(&bits, &value, sizeof(bits));
    magnitude = bits & kMagnitudeMask;
    negative = bits >> kSignShift;
  }

  KeyOf<T> magnitude;
  KeyOf<T> negative;  // 0 or 1
};

/// The number of bits that hold `value`; 0 for 0.
template <class Key>
int bit_width(Key value) {
  int width = 0;
  while (value != 0) {
    value >>= 1;
    ++width;
  }
  return width;
}

/// What one reading of a row tells about it.
template <class T>
struct Survey {
  using Key = KeyOf<T>;

  Key smallest = 0;         // magnitudes of the values that are not zero
  Key largest = 0;          //
  Key used_bits = 0;        // every bit set in any magnitude
  std::uint32_t zeros = 0;  // values equal to zero, of either sign
  std::uint32_t negatives = 0;
  bool has_nan = false;

  /// Takes in what another part of the row has told.
  void add(const Survey& other) {
    smallest = std::min<Key>(smallest - 1, other.smallest - 1) + 1;  // 0, where all values are zero, does not count
    largest = std::max(largest, other.largest);
    used_bits |= other.used_bits;
    zeros += other.zeros;
    negatives += other.negatives;
    has_nan |= other.has_nan;
  }
};

template <class T>
Survey<T> survey_values(const T* row, std::size_t size) {
  using Key = KeyOf<T>;
  // One less than the magnitude wraps around for zeros, which so take no part in the minimum.
  Key smallest_less_one = ~Key{0}, largest = 0, used_bits = 0;
  std::uint32_t zeros = 0, negatives = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const SignMagnitude<T> value(row[i]);
    smallest_less_one = std::min<Key>(smallest_less_one, value.magnitude - 1);
    largest = std::max(largest, value.magnitude);
    used_bits |= value.magnitude;
    zeros += value.magnitude == 0;
    negatives += static_cast<std::uint32_t>(value.negative) & (value.magnitude != 0);
  }
  Survey<T> survey;
  survey.smallest = smallest_less_one + 1;
  survey.largest = largest;
  survey.used_bits = used_bits;
  survey.zeros = zeros;
  survey.negatives = negatives;
  survey.has_nan = largest > FloatFormat<T>::kInfinity;
  return survey;
}

#ifdef CAPTUM_PROTO_HAS_AVX512_VARIANT
template <class T>
CAPTUM_PROTO_FLAT_AVX512 Survey<T> survey_values_avx512(const T* row, std::size_t size) {
  return survey_values(row, size);
}
#endif

template <class T>
Survey<T> survey_row(const T* row, std::size_t size) {
#ifdef CAPTUM_PROTO_HAS_AVX512_VARIANT
  if (has_avx512()) return survey_values_avx512(row, size);
#endif
  return survey_values(row, size);
}

/// Maps the values of one row other than zero to integers in the same order, from 0 upwards.
///
/// Sorting costs time by the bit, and rows rarely use all of theirs: magnitudes span a few binades, activations after a ReLU have
/// one sign, values that were half precision before end in zeros. So magnitudes lose the row's smallest and the low bits that no
/// value uses; then negative ones are mirrored below an offset, where there are any.
template <class T>
class KeyMap {
 public:
  using Key = KeyOf<T>;

  explicit KeyMap(const Survey<T>& survey, std::size_t size) : smallest_(survey.smallest) {
    const std::size_t positives = size - survey.zeros - survey.negatives;
    if (survey.used_bits == 0) return;  // nothing but zeros
    while ((survey.used_bits >> shift_ & 1) == 0) ++shift_;
    const Key range = (survey.largest - survey.smallest) >> shift_;
    offset_ = survey.negatives > 0 ? range + 1 : 0;
    largest_key_ = positives > 0 ? offset_ + range : range;
  }

  Key operator()(const SignMagnitude<T>& value) const {
    const Key steps = (value.magnitude - smallest_) >> shift_;
    return (steps ^ (Key{0} - value.negative)) + offset_;  // offset + steps, or offset - 1 - steps
  }

  Key largest_key() const { return largest_key_; }
  int bits() const { return bit_width(largest_key_); }
  Key smallest() const { return smallest_; }
  Key offset() const { return offset_; }
  int shift() const { return shift_; }

 private:
  Key smallest_ = 0;
  int shift_ = 0;
  Key offset_ = 0;
  Key largest_key_ = 0;
};

}  // namespace captum_proto
