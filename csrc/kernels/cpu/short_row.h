// Ranks of rows too short to be worth a sort.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "float_keys.h"

namespace captum_proto {

constexpr std::size_t kLongestShortRow = 64;

/// Writes the doubled ranks of a row by comparing each value with every other; false if it holds a NaN.
///
/// A value's doubled rank is the number of values below it plus the number of values not above it, plus 1.
template <class T>
bool rank_short_row(const T* row, std::size_t size, std::int32_t* ranks) {
  using Signed = std::make_signed_t<KeyOf<T>>;
  Signed keys[kLongestShortRow];
  bool has_nan = false;
  for (std::size_t i = 0; i < size; ++i) {
    const SignMagnitude<T> value(row[i]);
    const Signed magnitude = static_cast<Signed>(value.magnitude);
    keys[i] = value.negative ? -magnitude : magnitude;
    has_nan |= value.magnitude > FloatFormat<T>::kInfinity;
  }
  if (has_nan) return false;
  for (std::size_t i = 0; i < size; ++i) {
    const Signed key = keys[i];
    Signed below = 0, not_above = 0;
    for (std::size_t j = 0; j < size; ++j) {
      below += keys[j] < key;
      not_above += keys[j] <= key;
    }
    ranks[i] = static_cast<std::int32_t>(below + not_above + 1);
  }
  return true;
}

}  // namespace captum_proto
