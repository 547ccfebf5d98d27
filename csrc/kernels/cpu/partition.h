// The sorted runs of one long row, by several workers at once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

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

/// Keys in parts of ascending order, by their leading bits: those of a digit, so that a sort's counters serve to count them.
struct Parting {
  /// Neighboring parts of up to this many items altogether are sorted as one; in the first-level cache.
  static constexpr std::size_t kSmall = 2048;

  int shift;
  std::size_t parts;

  explicit Parting(int bits) : shift(std::max(0, bits - DigitPlan::kMaxWidth)), parts(std::size_t{1} << (bits - shift)) {}
};

/// Writes the items for a worker's share of a row, and counts those of each part.
template <class T, class Payload>
std::size_t collect_share(const SurveyedRow<T, Payload>* row, std::size_t begin, std::size_t end, Parting parting,
                          typename SurveyedRow<T, Payload>::Item* items, std::uint32_t* counters) {
  std::fill_n(counters, parting.parts, 0u);
  std::size_t count = 0;
  for (; begin < end; begin += kCollectedAtATime) {
    const std::size_t in_block = row->collect(begin, std::min(begin + kCollectedAtATime, end), items + count);
    for (std::size_t i = count; i < count + in_block; ++i) ++counters[items[i].key() >> parting.shift];
    count += in_block;
  }
  return count;
}

template <class Item>
int scatter_share(const Item* items, std::size_t count, Item* out, Parting parting, std::uint32_t* next) {
  scatter(items, count, out, [=](const Item& item) { return next[item.key() >> parting.shift]++; });
  return 0;
}

/// Sorts the parts [part, end) of the items, which begin at starts[part], and shows them to the sink.
template <class T, class Item, class Sink>
int visit_parts(Item* items, Item* other, const std::uint32_t* starts, Parting parting, std::size_t part, std::size_t end,
                const Survey<T>* survey, std::uint32_t* counters, Sink* sink) {
  using Key = typename Item::Key;
  while (part < end) {
    std::size_t next = part + 1;
    while (next < end && starts[next + 1] - starts[part] <= Parting::kSmall) ++next;
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
      sorted = sort.sort(items + begin, other + begin);
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
void visit_sorted_runs_together(const SurveyedRow<T, Payload>& row, Workspace& workspace, const Team& team, Sink* sinks) {
  using Item = typename SurveyedRow<T, Payload>::Item;
  const std::size_t count = row.size - row.survey.zeros;
  if (count == 0) return;

  const Parting parting(row.key.bits());
  Item* items = workspace.get<Item>(Workspace::kItems, row.size);
  Item* other = workspace.get<Item>(Workspace::kOtherItems, count);
  std::uint32_t* tables = workspace.get<std::uint32_t>(Workspace::kTable, team.workers * DigitPlan::kMaxCounters);
  const auto table = [=](std::size_t worker) { return tables + worker * DigitPlan::kMaxCounters; };
  std::vector<std::size_t> collected(team.workers);
  team.share(row.size, [&](std::size_t worker, std::size_t begin, std::size_t end) {
    collected[worker] = run<&collect_share<T, Payload>>(&row, begin, end, parting, items + begin, table(worker));
  });

  // From counts to places: part by part, and within a part worker by worker.
  std::vector<std::uint32_t> starts(parting.parts + 1);
  std::uint32_t place = 0;
  for (std::size_t part = 0; part < parting.parts; ++part) {
    starts[part] = place;
    for (std::size_t worker = 0; worker < team.workers; ++worker) place += std::exchange(table(worker)[part], place);
  }
  starts[parting.parts] = place;
  team.share(row.size, [&](std::size_t worker, std::size_t begin, std::size_t) {
    run<&scatter_share<Item>>(static_cast<const Item*>(items + begin), collected[worker], other, parting, table(worker));
  });

  const auto first_part = [&](std::size_t worker) {
    const auto start =
        std::lower_bound(starts.begin(), starts.end() - 1, static_cast<std::uint32_t>(count * worker / team.workers));
    return worker == team.workers ? parting.parts : static_cast<std::size_t>(start - starts.begin());
  };
  team.each([&](std::size_t worker) {
    run<&visit_parts<T, Item, Sink>>(other, items, static_cast<const std::uint32_t*>(starts.data()), parting, first_part(worker),
                                     first_part(worker + 1), &row.survey, table(worker), sinks + worker);
  });
}

}  // namespace captum_proto
