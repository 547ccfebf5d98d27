// The values of a row in ascending order, each with a payload, without ever sorting the zeros.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "avx2.h"
#include "avx512.h"
#include "float_keys.h"
#include "payload.h"
#include "radix_sort.h"
#include "workspace.h"

namespace captum_proto {

/// Items are collected in blocks of so many, and counted while they are still in the first-level cache.
constexpr std::size_t kCollectedAtATime = 1024;

/// A surveyed row, its keys, and what travels with them.
template <class T, class Payload>
struct SurveyedRow {
  using Item = captum_proto::Item<KeyOf<T>>;

  const T* values;
  std::size_t size;
  Survey<T> survey;
  KeyMap<T> key;
  Payload payload;

  SurveyedRow(const T* values, std::size_t size, const Survey<T>& survey, Payload payload)
      : values(values), size(size), survey(survey), key(survey, size), payload(payload) {}

  /// Writes items for the values of [begin, end) that are not zero; returns how many. `out` has room for end - begin.
  std::size_t collect(std::size_t begin, std::size_t end, Item* out) const {
    if (survey.zeros == 0) {
      for (std::size_t i = begin; i < end; ++i) out[i - begin] = Item(key(SignMagnitude<T>(values[i])), payload(i));
      return end - begin;
    }
    // Zeros come unpredictably after a ReLU, so write always, and step on only past what is to stay.
    std::size_t count = 0;
    if constexpr (std::is_same_v<T, float>) {
      [[maybe_unused]] const std::size_t vectors_end = begin + (end - begin) / 16 * 16;
#ifdef CAPTUM_PROTO_HAS_AVX512_VARIANT
      if (has_avx512()) {
        count = collect_nonzero_avx512(values, begin, vectors_end, key, payload, out);
        begin = vectors_end;
      }
#endif
#ifdef CAPTUM_PROTO_HAS_AVX2_VARIANT
      if (has_avx2() && begin < vectors_end) {
        count = collect_nonzero_avx2(values, begin, vectors_end, key, payload, out);
        begin = vectors_end;
      }
#endif
    }
    for (std::size_t i = begin; i < end; ++i) {
      const SignMagnitude<T> value(values[i]);
      out[count] = Item(key(value), payload(i));
      count += value.magnitude != 0;
    }
    return count;
  }
};

/// Calls sink.add_run(items, size, place) for runs of the row's values other than zero, in ascending order.
///
/// `place` is where the run's first value is in the whole sorted row, zeros included; equal values are in the same run.
template <class T, class Payload, class Sink>
int visit_sorted_runs(const SurveyedRow<T, Payload>* row, Workspace* workspace, Sink* sink) {
  using Item = typename SurveyedRow<T, Payload>::Item;
  const std::size_t zeros = row->survey.zeros, negatives = row->survey.negatives, count = row->size - zeros;
  if (count == 0) return 0;

  Item* items = workspace->get<Item>(Workspace::kItems, row->size);
  Item* other = workspace->get<Item>(Workspace::kOtherItems, count);
  RadixSort<Item> sort(DigitPlan(count, row->key.bits()),
                       workspace->get<std::uint32_t>(Workspace::kTable, DigitPlan::kMaxCounters));
  std::size_t collected = 0;
  for (std::size_t begin = 0; begin < row->size; begin += kCollectedAtATime) {
    const std::size_t in_block = row->collect(begin, std::min(begin + kCollectedAtATime, row->size), items + collected);
    sort.count(items + collected, in_block);
    collected += in_block;
  }
  const Item* sorted = sort.sort(items, other);

  // Zeros take their places between the negative values and the positive ones.
  if (negatives > 0) sink->add_run(sorted, negatives, 0);
  if (negatives < count) sink->add_run(sorted + negatives, count - negatives, negatives + zeros);
  return 0;
}

}  // namespace captum_proto
