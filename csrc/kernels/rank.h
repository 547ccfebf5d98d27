// Doubled average ranks of a row.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "float_keys.h"
#include "histogram.h"
#include "short_row.h"
#include "sorted_runs.h"
#include "workspace.h"

namespace captum_proto {

/// Twice the average rank of `count` equal values of which the first is at place `begin` of the sorted row.
inline std::int32_t doubled_rank_of_group(std::size_t begin, std::size_t count) {
  return static_cast<std::int32_t>(2 * begin + count + 1);
}

template <class T>
void rank_by_histogram(const SurveyedRow<T, IndexAsPayload>& row, std::int32_t* ranks, Workspace& workspace) {
  const BinOf<T> bin_of(row.key);
  std::uint32_t* bins = workspace.get<std::uint32_t>(Workspace::kTable, bin_of.bins());
  std::fill_n(bins, bin_of.bins(), 0u);
  bin_of.for_each(row.values, row.size, true, [=](std::size_t, std::size_t bin) { ++bins[bin]; });
  visit_bins(
      bin_of, row.survey, [&](std::size_t bin) { return bins[bin]; },
      [&](std::size_t bin, std::size_t count, std::size_t begin) {
        bins[bin] = static_cast<std::uint32_t>(doubled_rank_of_group(begin, count));
      });
  bin_of.for_each(row.values, row.size, false,
                  [=](std::size_t i, std::size_t bin) { ranks[i] = static_cast<std::int32_t>(bins[bin]); });
}

/// Writes ranks to where the values came from.
struct RankWriter {
  std::int32_t* ranks;

  template <class Item>
  void add_run(const Item* items, std::size_t size, std::size_t begin) {
    for (std::size_t first = 0; first < size;) {
      std::size_t end = first + 1;
      while (end < size && items[end].key() == items[first].key()) ++end;
      const std::int32_t rank = doubled_rank_of_group(begin + first, end - first);
      for (; first < end; ++first) ranks[items[first].payload()] = rank;
    }
  }
};

template <class T>
void rank_by_sorting(const SurveyedRow<T, IndexAsPayload>& row, std::int32_t* ranks, Workspace& workspace) {
  if (row.survey.zeros > 0) {
    // Everywhere, to begin with: the values that are not zero get their own ranks below.
    std::fill_n(ranks, row.size, doubled_rank_of_group(row.survey.negatives, row.survey.zeros));
  }
  RankWriter writer{ranks};
  visit_sorted_runs(row, workspace, writer);
}

/// Writes the doubled ranks of one row of contiguous values; zeros if it holds a NaN.
template <class T>
void rank_row(const T* row, std::size_t size, std::int32_t* ranks) {
  if (size <= max_short_row) {
    if (!rank_short_row(row, size, ranks)) std::fill_n(ranks, size, 0);
    return;
  }
  const SurveyedRow<T, IndexAsPayload> surveyed(row, size, survey_row(row, size), IndexAsPayload{});
  if (surveyed.survey.has_nan) {
    std::fill_n(ranks, size, 0);
    return;
  }
  Workspace& workspace = Workspace::of_this_thread();
  if (worth_a_histogram(size, surveyed.key.largest_key())) {
    rank_by_histogram(surveyed, ranks, workspace);
  } else {
    rank_by_sorting(surveyed, ranks, workspace);
  }
}

}  // namespace captum_proto
