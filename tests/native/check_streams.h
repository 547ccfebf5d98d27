// The CPU's kernels on streams of activations against naive implementations, for cpu_kernels.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/radix_counts.h"
#include "kernels/cpu/top_k.h"
#include "kernels/cpu/unit_summary.h"

namespace streams {

using namespace captum_proto;
using Expect = std::function<void(bool, const std::string&)>;

/// The integer in the order of the values, by their bits.
template <class T>
std::int64_t key_of(T value) {
  typename FloatFormat<T>::Bits bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const std::uint64_t sign = std::uint64_t{1} << (8 * sizeof(bits) - 1);
  const auto magnitude = static_cast<std::int64_t>(bits & (sign - 1));
  return (bits & sign) != 0 ? -magnitude : magnitude;
}

/// The bin of a key, among edges that are made by walking from one to the next.
template <class T>
std::int64_t naive_bin(std::int64_t key) {
  using Digit = typename DigitsOf<T>::type;
  static const std::vector<std::uint64_t> edges = [] {
    std::vector<std::uint64_t> all{1};
    for (std::uint64_t edge = 0; edge <= Digit::kInfinity;) {
      edge += std::uint64_t{1} << (edge >= Digit::kLow && edge < Digit::kHigh ? Digit::kFine : Digit::kCoarse);
      all.push_back(std::min<std::uint64_t>(edge, Digit::kInfinity + 1));
    }
    return all;
  }();
  const std::uint64_t magnitude = static_cast<std::uint64_t>(key < 0 ? -key : key);
  const std::int64_t bin = std::upper_bound(edges.begin(), edges.end(), magnitude) - edges.begin();
  return Digit::kLast + (key < 0 ? -bin : bin);
}

/// Values (outer, units, inner), which lie with units in the middle or last.
template <class T>
struct Sample {
  std::vector<T> values;
  UnitValues<T> x;

  T at(std::int64_t outer, std::int64_t unit, std::int64_t inner) const {
    return x.data[unit * x.unit_stride + outer * x.outer_stride + inner * x.inner_stride];
  }
};

template <class T, class Random>
void check_sample(const Sample<T>& sample, const std::string& name, Random& random, const Expect& expect, double (*value_of)(T)) {
  using W = WideOf<T>;
  using Digit = typename DigitsOf<T>::type;
  const UnitValues<T>& x = sample.x;
  std::vector<std::int32_t> counts(static_cast<std::size_t>(x.units) * Digit::kSignedBins), expected(counts.size());
  run<&radix_histogram_units<T, std::int32_t>>(x, std::int64_t{0}, x.units, counts.data());

  // A slot that counts and one that keeps, which has room for a few.
  std::vector<std::int64_t> first(static_cast<std::size_t>(x.units) + 1), slots, tallies, filled;
  std::vector<std::vector<std::int64_t>> wanted;
  std::vector<T> kept;
  for (std::int64_t unit = 0; unit < x.units; ++unit) {
    for (const bool keeps : {false, true}) {
      const std::int64_t low = key_of(sample.values[random() % sample.values.size()]);
      const std::int64_t above = static_cast<std::int64_t>(FloatFormat<T>::kInfinity) - std::max<std::int64_t>(low, 0);
      const std::int64_t width = std::min(std::int64_t{1} << (random() % (8 * sizeof(T) - 2)), std::max<std::int64_t>(above, 1));
      const int shift = keeps ? -1 : static_cast<int>(random() % 4) + std::max(0, static_cast<int>(std::log2(width)) - 6);
      const std::int64_t room = keeps ? 5 : ((width - 1) >> shift) + 1;
      slots.insert(slots.end(), {low, width, shift, static_cast<std::int64_t>(keeps ? kept.size() : tallies.size()), room});
      std::vector<std::int64_t> steps;
      for (std::int64_t i = 0; i < x.outer; ++i)
        for (std::int64_t j = 0; j < x.inner; ++j) {
          const std::int64_t step = static_cast<std::int64_t>(static_cast<std::uint64_t>(key_of(sample.at(i, unit, j))) -
                                                              static_cast<std::uint64_t>(low));
          if (step >= 0 && step < width) steps.push_back(step);
        }
      wanted.push_back(steps);
      if (keeps) {
        kept.resize(kept.size() + static_cast<std::size_t>(room));
      } else {
        tallies.resize(tallies.size() + static_cast<std::size_t>(room));
      }
    }
    first[static_cast<std::size_t>(unit) + 1] = 2 * unit + 2;
  }
  filled.resize(wanted.size());
  const Selection<T> selection{first.data(),
                               slots.data(),
                               static_cast<std::int64_t>(filled.size()),
                               tallies.data(),
                               static_cast<std::int64_t>(tallies.size()),
                               filled.data(),
                               kept.data(),
                               static_cast<std::int64_t>(kept.size())};
  run<&radix_select_units<T>>(x, std::int64_t{0}, x.units, &selection);
  for (std::size_t slot = 0; slot < wanted.size(); ++slot) {
    const std::int64_t shift = slots[slot * kSlotColumns + kSlotShift], offset = slots[slot * kSlotColumns + kSlotOffset];
    if (shift < 0) {
      expect(filled[slot] == static_cast<std::int64_t>(wanted[slot].size()), name + "values that a slot met");
      continue;
    }
    for (const std::int64_t step : wanted[slot]) --tallies[static_cast<std::size_t>(offset + (step >> shift))];
  }
  expect(std::all_of(tallies.begin(), tallies.end(), [](std::int64_t count) { return count == 0; }), name + "counts of slots");

  const std::size_t tasks = static_cast<std::size_t>(x.outer * x.units);
  std::vector<W> largest(tasks), mean(tasks);
  std::vector<std::int64_t> position(tasks);
  const SummaryOutputs<W> out{largest.data(), position.data(), mean.data()};
  if (x.unit_stride == 1) {
    run<&unit_summaries_side_by_side<T>>(x, std::int64_t{0}, x.outer * ((x.units + kUnitTile - 1) / kUnitTile), out);
  } else {
    run<&unit_summaries<T>>(x, std::int64_t{0}, x.outer * x.units, out);
  }
  for (std::int64_t unit = 0; unit < x.units; ++unit) {
    for (std::int64_t i = 0; i < x.outer; ++i) {
      std::int64_t best = 0;
      double sum = 0, absolute = 0;
      for (std::int64_t j = 0; j < x.inner; ++j) {
        ++expected[static_cast<std::size_t>(unit * Digit::kSignedBins + naive_bin<T>(key_of(sample.at(i, unit, j))))];
        const double value = value_of(sample.at(i, unit, j)), so_far = value_of(sample.at(i, unit, best));
        if (std::isnan(value) ? !std::isnan(so_far) : value > so_far) best = j;
        sum += value;
        absolute += std::abs(value);
      }
      const std::size_t task = static_cast<std::size_t>(i * x.units + unit);
      const double value = value_of(sample.at(i, unit, best)), average = sum / static_cast<double>(x.inner);
      expect(position[task] == best, name + "position of the largest");
      expect(largest[task] == static_cast<W>(value) || (std::isnan(value) && std::isnan(largest[task])), name + "largest");
      expect(std::abs(mean[task] - average) <= 1e-6 * absolute + 1e-45 || !std::isfinite(absolute), name + "mean");
    }
  }
  expect(counts == expected, name + "histogram");
}

template <class T, class Random>
void check_activations(const std::string& dtype, Random& random, const Expect& expect, double (*value_of)(T),
                       const std::function<void(std::vector<T>&, int)>& fill, int kinds) {
  for (const auto& [outer, units, inner] : {std::tuple{2, 3, 1}, {3, 2, 49}, {1, 18, 40}, {1, 1, 1100}}) {
    for (int kind = 0; kind < kinds; ++kind) {
      for (const bool units_last : {false, true}) {
        Sample<T> sample;
        sample.values.resize(static_cast<std::size_t>(outer * units * inner));
        fill(sample.values, kind);
        sample.x = units_last ? UnitValues<T>{sample.values.data(), units, outer, inner, 1, units * inner, units}
                              : UnitValues<T>{sample.values.data(), units, outer, inner, inner, units * inner, 1};
        check_sample(sample, dtype + ", streams, kind " + std::to_string(kind) + ": ", random, expect, value_of);
      }
    }
  }
}

template <class T, bool largest, class Random>
void check_lists(Random& random, const Expect& expect) {
  using Entry = std::tuple<T, std::int64_t, std::int64_t>;
  for (const std::int64_t k : {1, 4}) {
    const std::int64_t units = 37, rows = 23;
    const std::size_t size = static_cast<std::size_t>(units * k), count = static_cast<std::size_t>(units * rows);
    std::vector<T> scores(size, largest ? -INFINITY : INFINITY), new_scores(count);
    std::vector<std::int64_t> indices(size, INT64_MAX), payload(size, INT64_MAX), new_indices(count), new_payload(count);
    for (T& score : new_scores) score = static_cast<T>(static_cast<int>(random() % 7) - 3);
    for (std::int64_t& index : new_indices) index = static_cast<std::int64_t>(random() % 4);
    for (std::int64_t& load : new_payload) load = static_cast<std::int64_t>(random() % 4);
    run<&top_k_units<T, largest>>(TopLists<T>{scores.data(), indices.data(), payload.data(), k},
                                  UnitColumns<T>{new_scores.data(), units, 1},
                                  UnitColumns<std::int64_t>{new_indices.data(), units, 1},
                                  UnitColumns<std::int64_t>{new_payload.data(), units, 1}, rows, std::int64_t{0}, units);
    for (std::int64_t unit = 0; unit < units; ++unit) {
      std::vector<Entry> entries;
      for (std::size_t i = static_cast<std::size_t>(unit); i < count; i += static_cast<std::size_t>(units))
        entries.emplace_back(largest ? -new_scores[i] : new_scores[i], new_indices[i], new_payload[i]);
      std::sort(entries.begin(), entries.end());
      for (std::int64_t i = 0; i < k; ++i) {
        const std::size_t place = static_cast<std::size_t>(unit * k + i);
        const Entry held(largest ? -scores[place] : scores[place], indices[place], payload[place]);
        expect(held == entries[static_cast<std::size_t>(i)], "lists of the best");
      }
    }
  }
}

}  // namespace streams
