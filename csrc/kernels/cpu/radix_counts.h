// Counting units' values by the digits of their keys: the passes that lead to exact order statistics.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "../digits.h"
#include "float_keys.h"
#include "radix_avx2.h"
#include "unit_values.h"

namespace captum_proto {

template <class T>
struct DigitsOf;
template <>
struct DigitsOf<Half> {
  using type = HalfDigits;
};
template <>
struct DigitsOf<BFloat16> {
  using type = BFloat16Digits;
};
template <>
struct DigitsOf<float> {
  using type = FloatDigits;
};
template <>
struct DigitsOf<double> {
  using type = DoubleDigits;
};

/// Adds up to kUnitBlock values to the counts of one unit.
template <class T, class Count>
void count_block(const T* values, std::int64_t size, Count* counts) {
  using Digit = typename DigitsOf<T>::type;
  std::int32_t bins[kUnitBlock];
  std::int32_t zeros = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    const SignMagnitude<T> value(values[i]);
    const std::int32_t negative = static_cast<std::int32_t>(value.negative);
    bins[i] = ((Digit::of_magnitude(value.magnitude) ^ -negative) + negative) + Digit::kLast;
    zeros += value.magnitude == 0;
  }
  if (zeros > 0) {
    // After a ReLU zeros follow zeros, and each would wait for the count of the one before. They are counted already: leave them
    // out, without branches, which could not be predicted.
    counts[Digit::kLast] += zeros;
    std::int64_t others = 0, i = 0;
#ifdef CAPTUM_PROTO_HAS_AVX2_VARIANT
    if (has_avx2()) {
      i = size - size % 8;
      others = leave_out_avx2(bins, i, Digit::kLast);
    }
#endif
    for (; i < size; ++i) {
      bins[others] = bins[i];
      others += bins[i] != Digit::kLast;
    }
    size = others;
  }
  for (std::int64_t i = 0; i < size; ++i) ++counts[bins[i]];
}

/// Adds the values of units [begin, end) to their rows of `counts` (units, bins).
template <class T, class Count>
void radix_histogram_units(UnitValues<T> x, std::int64_t begin, std::int64_t end, Count* counts) {
  visit_unit_blocks(x, begin, end, [=](std::int64_t unit, const T* values, std::int64_t size) {
    count_block(values, size, counts + unit * DigitsOf<T>::type::kSignedBins);
  });
}

/// What a later pass looks for, and where it puts what it finds: see ops.radix_select.
template <class T>
struct Selection {
  const std::int64_t* first;  // (units + 1,)
  const std::int64_t* slots;  // (number, kSlotColumns)
  std::int64_t number;
  std::int64_t* counts;
  std::int64_t bins;
  std::int64_t* filled;  // (number,)
  T* kept;
  std::int64_t room;
};

/// One value that lies in a slot's interval, `steps` above its lower end.
template <class T>
void put_into_slot(const Selection<T>& selection, std::int64_t slot, std::uint64_t steps, T value) {
  const std::int64_t* columns = selection.slots + slot * kSlotColumns;
  const std::int64_t shift = columns[kSlotShift], offset = columns[kSlotOffset], room = columns[kSlotRoom];
  const std::int64_t place = shift < 0 ? selection.filled[slot]++ : static_cast<std::int64_t>(steps >> shift);
  if (place >= room || offset < 0 || offset + place >= (shift < 0 ? selection.room : selection.bins)) return;
  if (shift < 0) {
    selection.kept[offset + place] = value;
  } else {
    ++selection.counts[offset + place];
  }
}

/// Up to kUnitBlock values of one unit against its slots.
template <class T>
void select_block(const T* values, std::int64_t size, const Selection<T>& selection, std::int64_t unit) {
  using Unsigned = KeyOf<T>;
  using Key = std::make_signed_t<Unsigned>;
  constexpr std::int64_t kGroup = 32;  // few of which have a value in an interval
  Unsigned keys[kUnitBlock];           // of the values, as two's complement
  for (std::int64_t i = 0; i < size; ++i) {
    const SignMagnitude<T> value(values[i]);
    keys[i] = static_cast<Unsigned>((value.magnitude ^ (Unsigned{0} - value.negative)) + value.negative);
  }
  const std::int64_t last = std::min(selection.first[unit + 1], selection.number);
  for (std::int64_t slot = std::max<std::int64_t>(selection.first[unit], 0); slot < last; ++slot) {
    const std::int64_t* columns = selection.slots + slot * kSlotColumns;
    const Unsigned low = static_cast<Unsigned>(static_cast<Key>(columns[kSlotLow]));
    const Unsigned width = static_cast<Unsigned>(columns[kSlotWidth]);
    if (width == 0) continue;
    const auto put = [&](std::int64_t i, Unsigned steps) { put_into_slot(selection, slot, steps, values[i]); };
    std::int64_t begin = 0;
#ifdef CAPTUM_PROTO_HAS_AVX2_VARIANT
    if constexpr (sizeof(Unsigned) == 4) {
      if (has_avx2()) {
        begin = size - size % kGroup;
        visit_inside_avx2(keys, begin, low, width, put);
      }
    }
#endif
    for (; begin < size; begin += kGroup) {
      const std::int64_t end = std::min(begin + kGroup, size);
      Unsigned any = 0;
      for (std::int64_t i = begin; i < end; ++i) any |= static_cast<Unsigned>(static_cast<Unsigned>(keys[i] - low) < width);
      if (any == 0) continue;
      for (std::int64_t i = begin; i < end; ++i)
        if (const Unsigned steps = keys[i] - low; steps < width) put(i, steps);
    }
  }
}

/// The values of units [begin, end) against their slots.
template <class T>
void radix_select_units(UnitValues<T> x, std::int64_t begin, std::int64_t end, const Selection<T>* selection) {
  visit_unit_blocks(x, begin, end, [=](std::int64_t unit, const T* values, std::int64_t size) {
    if (selection->first[unit] < selection->first[unit + 1]) select_block(values, size, *selection, unit);
  });
}

}  // namespace captum_proto
