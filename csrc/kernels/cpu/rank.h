// Doubled average ranks of a row.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "float_keys.h"
#include "histogram.h"
#include "partition.h"
#include "short_row.h"
#include "sorted_runs.h"
#include "team.h"
#include "workspace.h"

namespace captum_proto {

/// Twice the average rank of `count` equal values of which the first is at place `begin` of the sorted row.
inline std::int32_t doubled_rank_of_group(std::size_t begin, std::size_t count) {
  return static_cast<std::int32_t>(2 * begin + count + 1);
}

template <class T>
void count_values(const T* row, std::size_t size, BinOf<T> bin_of, std::uint32_t* bins) {
  std::fill_n(bins, bin_of.bins(), 0u);
  bin_of.for_each(row, size, true, [=](std::size_t, std::size_t bin) { ++bins[bin]; });
}

/// From counts to doubled ranks.
template <class T>
void rank_bins(const BinOf<T>& bin_of, const Survey<T>& survey, std::uint32_t* bins) {
  visit_bins(
      bin_of, survey, [&](std::size_t bin) { return bins[bin]; },
      [&](std::size_t bin, std::size_t count, std::size_t begin) {
        bins[bin] = static_cast<std::uint32_t>(doubled_rank_of_group(begin, count));
      });
}

template <class T>
void write_ranks_of_bins(const T* row, std::size_t size, BinOf<T> bin_of, const std::uint32_t* bins, std::int32_t* ranks) {
  bin_of.for_each(row, size, false, [=](std::size_t i, std::size_t bin) { ranks[i] = static_cast<std::int32_t>(bins[bin]); });
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
  visit_sorted_runs(&row, &workspace, &writer);
}

/// Writes the doubled ranks of one row of contiguous values; zeros if it holds a NaN.
template <class T>
void rank_row(const T* row, std::size_t size, std::int32_t* ranks) {
  if (size <= kLongestShortRow) {
    if (!rank_short_row(row, size, ranks)) std::fill_n(ranks, size, 0);
    return;
  }
  const SurveyedRow<T, IndexAsPayload> surveyed(row, size, survey_row(row, size), IndexAsPayload{});
  if (surveyed.survey.has_nan) {
    std::fill_n(ranks, size, 0);
    return;
  }
  Workspace& workspace = Workspace::of_this_thread();
  if (worth_a_histogram(size - surveyed.survey.zeros, surveyed.key.largest_key())) {
    const BinOf<T> bin_of(surveyed.key);
    std::uint32_t* bins = workspace.get<std::uint32_t>(Workspace::kTable, bin_of.bins());
    count_values(row, size, bin_of, bins);
    rank_bins(bin_of, surveyed.survey, bins);
    write_ranks_of_bins(row, size, bin_of, static_cast<const std::uint32_t*>(bins), ranks);
  } else {
    rank_by_sorting(surveyed, ranks, workspace);
  }
}

/// As rank_row(), by several workers.
template <class T>
void rank_row_together(const T* row, std::size_t size, std::int32_t* ranks, const Team& team) {
  const SurveyedRow<T, IndexAsPayload> surveyed(row, size, survey_together(row, size, team), IndexAsPayload{});
  const Survey<T>& survey = surveyed.survey;
  if (survey.has_nan) {
    std::fill_n(ranks, size, 0);
    return;
  }
  Workspace& workspace = Workspace::of_this_thread();
  if (worth_a_histogram(size - surveyed.survey.zeros, surveyed.key.largest_key())) {
    const BinOf<T> bin_of(surveyed.key);
    std::uint32_t* tables = workspace.get<std::uint32_t>(Workspace::kTable, team.workers * bin_of.bins());
    team.share(size, [&](std::size_t worker, std::size_t begin, std::size_t end) {
      run<&count_values<T>>(row + begin, end - begin, bin_of, tables + worker * bin_of.bins());
    });
    for (std::size_t i = bin_of.bins(); i < team.workers * bin_of.bins(); ++i) tables[i % bin_of.bins()] += tables[i];
    rank_bins(bin_of, survey, tables);
    team.share(size, [&](std::size_t, std::size_t begin, std::size_t end) {
      run<&write_ranks_of_bins<T>>(row + begin, end - begin, bin_of, static_cast<const std::uint32_t*>(tables), ranks + begin);
    });
  } else {
    team.share(survey.zeros > 0 ? size : 0, [&](std::size_t, std::size_t begin, std::size_t end) {
      std::fill(ranks + begin, ranks + end, doubled_rank_of_group(survey.negatives, survey.zeros));
    });
    std::vector<RankWriter> writers(team.workers, RankWriter{ranks});
    visit_sorted_runs_together(surveyed, workspace, team, writers.data());
  }
}

}  // namespace captum_proto
