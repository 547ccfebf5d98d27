// The sorted runs of one long row, in parts that fit the near cache, by one worker or by several at once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "caches.h"
#include "dispatch.h"
#include "float_keys.h"
#include "radix_sort.h"
#include "sorted_runs.h"
#include "team.h"
#include "workspace.h"

namespace captum_proto {

template <class T>
Survey<T> survey_together(const T* row, std::size_t size, const Team& team) {
  std::vector<Survey<T>> surveys(team.workers);
  team.share(size, [&](std::size_t worker, std::size_t begin, std::size_t end) {
    surveys[worker] = run<&survey_row<T>>(row + begin, end - begin);
  });
  for (std::size_t worker = 1; worker < team.workers; ++worker) surveys[0].add(surveys[worker]);
  return surveys[0];
}

/// Keys in parts of ascending order, by their leading bits.
struct Parting {
  /// So many parts have a cache line each to be written to, and all of them fit the near caches.
  static constexpr int kBits = 10;
  /// Neighboring parts of up to this many items altogether are sorted as one; in the first-level cache.
  static constexpr std::size_t kSmall = 2048;
  /// Counts of the same part that follow one another would wait for each other: they take turns at so many tables.
  static constexpr std::size_t kTurns = 4;
  static_assert((kTurns << kBits) <= DigitPlan::kMaxCounters, "a sort's counters serve to count parts");

  int shift;
  std::size_t parts;

  explicit Parting(int bits) : shift(std::max(0, bits - kBits)), parts(std::size_t{1} << (bits - shift)) {}

  template <class Item>
  std::size_t part_of(const Item& item) const {
    return static_cast<std::size_t>(item.key() >> shift);
  }

  /// Whether `count` items are sorted sooner if they are parted first. A sort passes over them and as many places again; where
  /// these are several times as much as the near cache holds, every pass goes to memory that others use too.
  template <class Item>
  static bool is_worth_it(std::size_t count) {
    return count * 2 * sizeof(Item) > 4 * near_cache_bytes();
  }
};

/// Counts the items of each part in a worker's share of a row. They are not kept: to collect them again costs less than to write
/// them to memory and read them back.
template <class T>
int count_parts(const SurveyedRow<T, IndexAsPayload>* row, std::size_t begin, std::size_t end, Parting parting,
                std::uint32_t* counters) {
  typename SurveyedRow<T, IndexAsPayload>::Item items[kCollectedAtATime];
  std::fill_n(counters, Parting::kTurns * parting.parts, 0u);
  for (; begin < end; begin += kCollectedAtATime) {
    const std::size_t count = row->collect(begin, std::min(begin + kCollectedAtATime, end), items);
    std::size_t i = 0;
    for (; i + Parting::kTurns <= count; i += Parting::kTurns)
      for (std::size_t turn = 0; turn < Parting::kTurns; ++turn)
        ++counters[turn * parting.parts + parting.part_of(items[i + turn])];
    for (; i < count; ++i) ++counters[parting.part_of(items[i])];
  }
  for (std::size_t i = parting.parts; i < Parting::kTurns * parting.parts; ++i) counters[i % parting.parts] += counters[i];
  return 0;
}

/// Moves the items of a worker's share of a row to their parts, in which the next one's place is next[part].
template <class T, class Payload>
int scatter_share(const SurveyedRow<T, Payload>* row, std::size_t begin, std::size_t end, Parting parting, std::uint32_t* next,
                  typename SurveyedRow<T, Payload>::Item* out) {
  using Item = typename SurveyedRow<T, Payload>::Item;
  Item items[kCollectedAtATime];
  for (; begin < end; begin += kCollectedAtATime) {
    const std::size_t count = row->collect(begin, std::min(begin + kCollectedAtATime, end), items);
    scatter(static_cast<const Item*>(items), count, out, [=](const Item& item) { return next[parting.part_of(item)]++; });
  }
  return 0;
}

/// The end of the parts from `part` on that are sorted as one.
inline std::size_t end_of_group(const std::uint32_t* starts, std::size_t part, std::size_t end) {
  std::size_t next = part + 1;
  while (next < end && starts[next + 1] - starts[part] <= Parting::kSmall) ++next;
  return next;
}

/// Items of the largest group of the parts [part, end).
inline std::size_t largest_group(const std::uint32_t* starts, std::size_t part, std::size_t end) {
  std::size_t largest = 0;
  while (part < end) {
    const std::size_t next = end_of_group(starts, part, end);
    largest = std::max<std::size_t>(largest, starts[next] - starts[part]);
    part = next;
  }
  return largest;
}

/// Sorts the parts [part, end) of the items, which begin at starts[part], and shows them to the sink. `scratch`, with room for the
/// largest group, is used for one after the other, so that it stays in the near cache.
template <class T, class Item, class Sink>
int visit_parts(Item* items, Item* scratch, const std::uint32_t* starts, Parting parting, std::size_t part, std::size_t end,
                const Survey<T>* survey, std::uint32_t* counters, Sink* sink) {
  using Key = typename Item::Key;
  while (part < end) {
    const std::size_t next = end_of_group(starts, part, end);
    const std::size_t begin = starts[part], size = starts[next] - begin;
    const Key first_key = static_cast<Key>(part) << parting.shift;
    const Key last_key = (static_cast<Key>(next) << parting.shift) - 1;
    part = next;
    if (size == 0) continue;
    const Item* sorted = items + begin;
    if (size > 1 && first_key != last_key) {
      // Bits above the highest in which first and last differ are the same throughout.
      RadixSort<Item> sort(DigitPlan(size, bit_width<Key>(first_key ^ last_key)), counters);
      sort.count(items + begin, size);
      sorted = sort.sort(items + begin, scratch);
    }
    // Zeros take their places between the negative values and the positive ones.
    const std::size_t negatives = begin < survey->negatives ? std::min(size, survey->negatives - begin) : 0;
    if (negatives > 0) sink->add_run(sorted, negatives, begin);
    if (negatives < size) sink->add_run(sorted + negatives, size - negatives, begin + negatives + survey->zeros);
  }
  return 0;
}

/// As visit_sorted_runs(), with one of `sinks` for each worker.
///
/// Every worker moves the items of its share of the row to their parts; then the parts are dealt out, in ascending order and as
/// evenly as their sizes allow. Runs are the same however many workers there are, but for their order and their ends.
template <class T, class Payload, class Sink>
void visit_parted_runs(const SurveyedRow<T, Payload>& row, Workspace& workspace, const Team& team, Sink* sinks) {
  using Item = typename SurveyedRow<T, Payload>::Item;
  const std::size_t count = row.size - row.survey.zeros;
  if (count == 0) return;

  const Parting parting(row.key.bits());
  std::uint32_t* tables = workspace.get<std::uint32_t>(Workspace::kTable, team.workers * DigitPlan::kMaxCounters);
  const auto table = [=](std::size_t worker) { return tables + worker * DigitPlan::kMaxCounters; };
  const SurveyedRow<T, IndexAsPayload> keys(row.values, row.size, row.survey, IndexAsPayload{});
  team.share(row.size, [&](std::size_t worker, std::size_t begin, std::size_t end) {
    run<&count_parts<T>>(&keys, begin, end, parting, table(worker));
  });

  // From counts to places: part by part, and within a part worker by worker.
  std::vector<std::uint32_t> starts(parting.parts + 1);
  std::uint32_t place = 0;
  for (std::size_t part = 0; part < parting.parts; ++part) {
    starts[part] = place;
    for (std::size_t worker = 0; worker < team.workers; ++worker) place += std::exchange(table(worker)[part], place);
  }
  starts[parting.parts] = place;
  Item* items = workspace.get<Item>(Workspace::kItems, count);
  team.share(row.size, [&](std::size_t worker, std::size_t begin, std::size_t end) {
    run<&scatter_share<T, Payload>>(&row, begin, end, parting, table(worker), items);
  });

  std::vector<std::size_t> first_part(team.workers + 1, parting.parts), scratch(team.workers + 1, 0);
  for (std::size_t worker = 0; worker < team.workers; ++worker) {
    const auto start =
        std::lower_bound(starts.begin(), starts.end() - 1, static_cast<std::uint32_t>(count * worker / team.workers));
    first_part[worker] = static_cast<std::size_t>(start - starts.begin());
  }
  constexpr std::size_t kLine = 64;  // no two workers write to the same cache line
  for (std::size_t worker = 0; worker < team.workers; ++worker) {
    const std::size_t largest = largest_group(starts.data(), first_part[worker], first_part[worker + 1]);
    scratch[worker + 1] = scratch[worker] + (largest + kLine - 1) / kLine * kLine;
  }
  Item* other = workspace.get<Item>(Workspace::kOtherItems, scratch[team.workers]);
  team.each([&](std::size_t worker) {
    run<&visit_parts<T, Item, Sink>>(items, other + scratch[worker], static_cast<const std::uint32_t*>(starts.data()), parting,
                                     first_part[worker], first_part[worker + 1], &row.survey, table(worker), sinks + worker);
  });
}

/// The same, parted where that is worth it.
template <class T, class Payload, class Sink>
void visit_sorted_runs_together(const SurveyedRow<T, Payload>& row, Workspace& workspace, const Team& team, Sink* sinks) {
  using Item = typename SurveyedRow<T, Payload>::Item;
  if (team.workers == 1 && !Parting::is_worth_it<Item>(row.size - row.survey.zeros)) {
    run<&visit_sorted_runs<T, Payload, Sink>>(&row, &workspace, sinks);
  } else {
    visit_parted_runs(row, workspace, team, sinks);
  }
}

}  // namespace captum_proto
