// Spearman's rank correlation of a row of values with a row of doubled ranks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "avx2.h"
#include "avx512.h"
#include "dispatch.h"
#include "exact.h"
#include "float_keys.h"
#include "histogram.h"
#include "partition.h"
#include "short_row.h"
#include "sorted_runs.h"
#include "team.h"
#include "workspace.h"

namespace captum_proto {

/// Bit i says whether items[i] has the key of items[i - 1], for i from 0 to 31.
template <class Item>
std::uint32_t equal_to_previous(const Item* items) {
#ifdef CAPTUM_PROTO_HAS_AVX2_VARIANT
  if constexpr (std::is_same_v<Item, PackedItem>) {
    if (has_avx2()) return equal_to_previous_avx2(items);
  }
#endif
  std::uint32_t equal = 0;
  for (int i = 0; i < 32; ++i) equal |= static_cast<std::uint32_t>(items[i].key() == items[i - 1].key()) << i;
  return equal;
}

/// Running sums of payloads, and the sums of these: they stand in for products with the place, for which not every processor has
/// vectors. After n steps, a value of the first step has been counted n times, one of the last step once.
template <class Item>
class BlockSums {
 public:
  static constexpr std::size_t kLanes = 4;

  /// Adds 32 items; bit i of the result says whether items[i] has the key of items[i - 1].
  std::uint32_t add(const Item* items) {
    for (std::size_t step = 0; step < 32; step += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        sums_[lane] += items[step + lane].payload();
        sums_of_sums_[lane] += sums_[lane];
      }
    }
    return equal_to_previous(items);
  }

  void store(std::uint64_t* sums, std::uint64_t* sums_of_sums) const {
    std::copy_n(sums_, kLanes, sums);
    std::copy_n(sums_of_sums_, kLanes, sums_of_sums);
  }

 private:
  std::uint64_t sums_[kLanes] = {}, sums_of_sums_[kLanes] = {};
};

/// Sums over one row, fed group by group: values `begin` to `end` - 1 of the sorted row are equal and share the doubled rank
/// begin + end + 1.
class RankSums {
 public:
  Int128 products = 0;     // of the row's doubled ranks with the other row's
  Int128 other_ranks = 0;  // the other row's doubled ranks, over the values seen so far
  Int128 tie_loss = 0;

  void add(const RankSums& other) {
    products += other.products;
    other_ranks += other.other_ranks;
    tie_loss += other.tie_loss;
  }

  void add_group(std::size_t begin, std::size_t count, Int128 sum_of_other_ranks) {
    products += sum_of_other_ranks * static_cast<Int128>(2 * begin + count + 1);
    other_ranks += sum_of_other_ranks;
    tie_loss += tie_loss_of_group(count);
  }

  /// Adds a sorted run whose first value is at place `begin` of the sorted row.
  ///
  /// Values are added as if no two were equal, with doubled ranks that rise by two; add_tie() makes up for those that are.
  template <class Item>
  void add_run(const Item* items, std::size_t size, std::size_t begin) {
#ifdef CAPTUM_PROTO_HAS_AVX512_VARIANT
    if constexpr (std::is_same_v<Item, PackedItem>) {
      if (has_avx512()) return add_run_avx512(items, size, begin);
    }
#endif
    add_run_by_blocks<BlockSums<Item>>(items, size, begin);
  }

 private:
  static constexpr std::size_t kBlock = 32;

#ifdef CAPTUM_PROTO_HAS_AVX512_VARIANT
  CAPTUM_PROTO_FLAT_AVX512 void add_run_avx512(const PackedItem* items, std::size_t size, std::size_t begin) {
    add_run_by_blocks<BlockSumsAvx512>(items, size, begin);
  }
#endif

  template <class Sums, class Item>
  void add_run_by_blocks(const Item* items, std::size_t size, std::size_t begin) {
    constexpr std::size_t kLanes = Sums::kLanes, kBlocksAtATime = 512;  // so that sums of sums fit 64 bits
    TieGroup group;
    add_value(items[0], begin);
    std::size_t i = 1;
    while (i + kBlock <= size) {
      const std::size_t first = i, end = i + std::min((size - i) / kBlock, kBlocksAtATime) * kBlock;
      Sums blocks;
      for (; i < end; i += kBlock) {
        for (std::uint32_t equal = blocks.add(items + i); equal != 0; equal &= equal - 1) {
          add_tie(items, i + static_cast<std::size_t>(__builtin_ctz(equal)), group);
        }
      }
      std::uint64_t sums[kLanes], sums_of_sums[kLanes];
      blocks.store(sums, sums_of_sums);
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const Int128 steps = static_cast<Int128>((end - first) / kLanes), sum = sums[lane];
        const Int128 sum_by_step = steps * sum - sums_of_sums[lane];  // of values times their step, counted from 0
        products += static_cast<Int128>(2 * (begin + first + lane) + 2) * sum + 2 * static_cast<Int128>(kLanes) * sum_by_step;
        other_ranks += sum;
      }
    }
    for (; i < size; ++i) {
      add_value(items[i], begin + i);
      if (items[i].key() == items[i - 1].key()) add_tie(items, i, group);
    }
  }

  /// The equal values that were added last.
  struct TieGroup {
    std::size_t first = 0, last = 0;
    Int128 other_ranks = 0;
  };

  template <class Item>
  void add_value(const Item& item, std::size_t place) {
    products += std::uint64_t{item.payload()} * (2 * place + 2);
    other_ranks += item.payload();
  }

  /// Makes up for the value at `i` being equal to the one before.
  ///
  /// A group of t equal values, of which the j-th, from 0, was added with rank r + 2j, should have had rank r + t - 1 throughout.
  template <class Item>
  void add_tie(const Item* items, std::size_t i, TieGroup& group) {
    if (group.last != i - 1 || group.last == group.first) group = {i - 1, i - 1, items[i - 1].payload()};
    const Int128 size = static_cast<Int128>(i - group.first), other_rank = items[i].payload();
    products += group.other_ranks - size * other_rank;  // those before move up by 1, this one down by their number
    tie_loss += 3 * size * (size + 1);                  // (t + 1)^3 - (t + 1) less t^3 - t
    group.other_ranks += other_rank;
    group.last = i;
  }
};

/// What a histogram knows of equal values.
struct RankBin {
  std::uint64_t ranks;  // the other row's doubled ranks
  std::uint64_t count;
};

template <class T>
void count_ranks(const T* row, std::size_t size, BinOf<T> bin_of, const std::int32_t* other, RankBin* bins) {
  std::fill_n(bins, bin_of.bins(), RankBin{0, 0});
  bin_of.for_each(row, size, true, [=](std::size_t i, std::size_t bin) {
    bins[bin].ranks += static_cast<std::uint32_t>(other[i]);
    ++bins[bin].count;
  });
}

/// Sums over the values that are not zero.
template <class T>
RankSums rank_sums_of_bins(const BinOf<T>& bin_of, const Survey<T>& survey, const RankBin* bins) {
  RankSums sums;
  visit_bins(
      bin_of, survey, [&](std::size_t bin) { return bins[bin].count; },
      [&](std::size_t bin, std::size_t count, std::size_t begin) {
        if (bin != bin_of.zero_bin()) sums.add_group(begin, count, bins[bin].ranks);
      });
  return sums;
}

template <class T>
double spearman_of_short_row(const T* row, std::size_t size, const RankedRow& other) {
  std::int32_t ranks[kLongestShortRow];
  if (!rank_short_row(row, size, ranks)) return kNotANumber;
  const std::int64_t mean = doubled_rank_mean(size);
  std::int64_t xy = 0, xx = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const std::int64_t centered = ranks[i] - mean;
    xy += centered * (other.ranks[i] - mean);
    xx += centered * centered;
  }
  return correlation(xy, xx, other.squares);
}

/// From the sums over a row's values other than zero to its correlation.
template <class T>
double spearman_of_sums(RankSums sums, std::size_t size, const Survey<T>& survey, const RankedRow& other) {
  // What the other values have not taken of the other row's ranks belongs to the zeros.
  if (survey.zeros > 0) sums.add_group(survey.negatives, survey.zeros, other.sum - sums.other_ranks);
  const Int128 xy = sums.products - other.sum * doubled_rank_mean(size);
  return correlation(xy, sum_of_squares(size, sums.tie_loss), other.squares);
}

/// Correlates one row of contiguous values with one row of doubled ranks.
template <class T>
double spearman_row(const T* row, std::size_t size, const RankedRow* other) {
  if (other->has_nan) return kNotANumber;
  if (size <= kLongestShortRow) return spearman_of_short_row(row, size, *other);

  const Survey<T> survey = survey_row(row, size);
  if (survey.has_nan) return kNotANumber;
  Workspace& workspace = Workspace::of_this_thread();
  RankSums sums;
  const SurveyedRow<T, PayloadFrom> surveyed(row, size, survey, PayloadFrom{other->ranks});
  if (worth_a_histogram(size - surveyed.survey.zeros, surveyed.key.largest_key())) {
    const BinOf<T> bin_of(surveyed.key);
    RankBin* bins = workspace.get<RankBin>(Workspace::kTable, bin_of.bins());
    count_ranks(row, size, bin_of, other->ranks, bins);
    sums = rank_sums_of_bins(bin_of, survey, bins);
  } else {
    visit_sorted_runs(&surveyed, &workspace, &sums);
  }
  return spearman_of_sums(sums, size, survey, *other);
}

/// As spearman_row(), by several workers.
template <class T>
double spearman_row_together(const T* row, std::size_t size, const RankedRow& other, const Team& team) {
  if (other.has_nan) return kNotANumber;
  const Survey<T> survey = survey_together(row, size, team);
  if (survey.has_nan) return kNotANumber;
  Workspace& workspace = Workspace::of_this_thread();
  std::vector<RankSums> sums(team.workers);
  const SurveyedRow<T, PayloadFrom> surveyed(row, size, survey, PayloadFrom{other.ranks});
  if (worth_a_histogram(size - surveyed.survey.zeros, surveyed.key.largest_key())) {
    const BinOf<T> bin_of(surveyed.key);
    RankBin* tables = workspace.get<RankBin>(Workspace::kTable, team.workers * bin_of.bins());
    team.share(size, [&](std::size_t worker, std::size_t begin, std::size_t end) {
      run<&count_ranks<T>>(row + begin, end - begin, bin_of, other.ranks + begin, tables + worker * bin_of.bins());
    });
    for (std::size_t i = bin_of.bins(); i < team.workers * bin_of.bins(); ++i) {
      tables[i % bin_of.bins()].ranks += tables[i].ranks;
      tables[i % bin_of.bins()].count += tables[i].count;
    }
    sums[0] = rank_sums_of_bins(bin_of, survey, tables);
  } else {
    visit_sorted_runs_together(surveyed, workspace, team, sums.data());
  }
  for (std::size_t worker = 1; worker < team.workers; ++worker) sums[0].add(sums[worker]);
  return spearman_of_sums(sums[0], size, survey, other);
}

}  // namespace captum_proto
