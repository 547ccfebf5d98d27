// Maximum, its position and mean of each unit over positions, in one reading.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "../digits.h"
#include "float_values.h"
#include "unit_values.h"

namespace captum_proto {

/// What is known of one unit after some of its positions. Partial sums are the same whatever blocks values come in, as long as all
/// blocks but the last are a multiple of kSummaryLanes.
template <class W>
struct UnitSummary {
  W largest = -std::numeric_limits<W>::infinity();
  std::int64_t position = 0;
  double sums[kSummaryLanes] = {};

  /// Takes `size` values, from position `begin` on.
  void add(const W* values, std::int64_t size, std::int64_t begin) {
    constexpr int kMaxima = 16;  // vectors of these fit into registers, beside those of the sums
    W best[kMaxima];
    for (W& each : best) each = -std::numeric_limits<W>::infinity();
    const std::int64_t whole = size - size % kSummaryLanes;
    for (std::int64_t i = 0; i < whole; i += kSummaryLanes) {
      for (int lane = 0; lane < kSummaryLanes; ++lane) sums[lane] += static_cast<double>(values[i + lane]);
      for (int lane = 0; lane < kMaxima; ++lane) {
        const W first = values[i + lane], second = values[i + lane + kMaxima];
        best[lane] = first > best[lane] ? first : best[lane];
        best[lane] = second > best[lane] ? second : best[lane];
      }
    }
    for (std::int64_t i = whole; i < size; ++i) {
      sums[i - whole] += static_cast<double>(values[i]);
      best[i % kMaxima] = values[i] > best[i % kMaxima] ? values[i] : best[i % kMaxima];
    }
    for (int half = kMaxima / 2; half > 0; half /= 2)
      for (int lane = 0; lane < half; ++lane) best[lane] = best[lane + half] > best[lane] ? best[lane + half] : best[lane];
    if (!(best[0] > largest)) return;  // also where all is minus infinity: position 0 is the first of the largest
    std::int64_t at = 0;
    for (; at + kMaxima <= size; at += kMaxima) {
      int any = 0;
      for (int lane = 0; lane < kMaxima; ++lane) any |= values[at + lane] == best[0];
      if (any != 0) break;
    }
    while (values[at] != best[0]) ++at;
    position = begin + at;
    largest = values[at];  // of zeros of both signs, the first
  }

  double sum() const {
    double lanes[kSummaryLanes / 2];
    for (int lane = 0; lane < kSummaryLanes / 2; ++lane) lanes[lane] = sums[lane] + sums[lane + kSummaryLanes / 2];
    for (int half = kSummaryLanes / 4; half > 0; half /= 2)
      for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    return lanes[0];
  }
};

template <class T>
using WideOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// The results, (outer, units) each.
template <class W>
struct SummaryOutputs {
  W* largest;
  std::int64_t* position;
  W* mean;
};

/// Where a sum is NaN, a value may be: then that one is the result, and its position.
template <class T>
void write_summary(const UnitSummary<WideOf<T>>& summary, const T* values, std::int64_t stride, std::int64_t size,
                   const SummaryOutputs<WideOf<T>>& out, std::int64_t index) {
  using W = WideOf<T>;
  const double sum = summary.sum();
  out.largest[index] = summary.largest;
  out.position[index] = summary.position;
  out.mean[index] = static_cast<W>(sum / static_cast<double>(size));
  if (sum == sum) return;
  for (std::int64_t i = 0; i < size; ++i) {
    const W value = widen(values[i * stride]);
    if (value == value) continue;
    out.largest[index] = value;
    out.position[index] = i;
    return;
  }
}

/// Tasks [begin, end) of outer * units, each one unit of one image.
template <class T>
void unit_summaries(UnitValues<T> x, std::int64_t begin, std::int64_t end, SummaryOutputs<WideOf<T>> out) {
  using W = WideOf<T>;
  static_assert(kUnitBlock % kSummaryLanes == 0);
  W block[kUnitBlock];
  for (std::int64_t task = begin; task < end; ++task) {
    const T* values = x.data + task / x.units * x.outer_stride + task % x.units * x.unit_stride;
    UnitSummary<W> summary;
    for (std::int64_t i = 0; i < x.inner; i += kUnitBlock) {
      const std::int64_t size = std::min(kUnitBlock, x.inner - i);
      if constexpr (std::is_same_v<T, W>) {
        if (x.inner_stride == 1) {
          summary.add(values + i, size, i);
          continue;
        }
      }
      for (std::int64_t j = 0; j < size; ++j) block[j] = widen(values[(i + j) * x.inner_stride]);
      summary.add(block, size, i);
    }
    write_summary(summary, values, x.inner_stride, x.inner, out, task);
  }
}

/// The same where units lie side by side: tasks are tiles of up to kUnitTile units of one image.
template <class T>
void unit_summaries_side_by_side(UnitValues<T> x, std::int64_t begin, std::int64_t end, SummaryOutputs<WideOf<T>> out) {
  using W = WideOf<T>;
  const std::int64_t tiles = (x.units + kUnitTile - 1) / kUnitTile;
  W tile[kUnitTile][kUnitBlock];
  for (std::int64_t task = begin; task < end; ++task) {
    const std::int64_t image = task / tiles, first = task % tiles * kUnitTile;
    const std::int64_t units = std::min(kUnitTile, x.units - first);
    const T* values = x.data + image * x.outer_stride + first * x.unit_stride;
    UnitSummary<W> summaries[kUnitTile];
    for (std::int64_t i = 0; i < x.inner; i += kUnitBlock) {
      const std::int64_t size = std::min(kUnitBlock, x.inner - i);
      for (std::int64_t j = 0; j < size; ++j) {
        const T* at = values + (i + j) * x.inner_stride;
        for (std::int64_t u = 0; u < units; ++u) tile[u][j] = widen(at[u * x.unit_stride]);
      }
      for (std::int64_t u = 0; u < units; ++u) summaries[u].add(tile[u], size, i);
    }
    for (std::int64_t u = 0; u < units; ++u)
      write_summary(summaries[u], values + u * x.unit_stride, x.inner_stride, x.inner, out, image * x.units + first + u);
  }
}

}  // namespace captum_proto
