// Each unit's list of the k best entries so far, and new entries that may displace some of them.
#pragma once

#include <algorithm>
#include <cstdint>

namespace captum_proto {

/// Lists (units, k), best first.
template <class T>
struct TopLists {
  T* scores;
  std::int64_t* indices;
  std::int64_t* payload;
  std::int64_t k;
};

/// A matrix (rows, units) with any strides.
template <class T>
struct UnitColumns {
  const T* data;
  std::int64_t row_stride, unit_stride;

  T at(std::int64_t row, std::int64_t unit) const { return data[row * row_stride + unit * unit_stride]; }
};

/// Puts an entry into its unit's list, unless all of the list is better.
template <bool largest, class T>
void insert_entry(const TopLists<T>& lists, std::int64_t unit, T score, std::int64_t index, std::int64_t payload) {
  T* scores = lists.scores + unit * lists.k;
  std::int64_t* indices = lists.indices + unit * lists.k;
  std::int64_t* payloads = lists.payload + unit * lists.k;
  const auto comes_before = [&](std::int64_t place) {
    if (score != scores[place]) return largest ? score > scores[place] : score < scores[place];
    return index != indices[place] ? index < indices[place] : payload < payloads[place];
  };
  std::int64_t place = lists.k - 1;
  if (!comes_before(place)) return;
  for (; place > 0 && comes_before(place - 1); --place) {
    scores[place] = scores[place - 1];
    indices[place] = indices[place - 1];
    payloads[place] = payloads[place - 1];
  }
  scores[place] = score;
  indices[place] = index;
  payloads[place] = payload;
}

/// Puts `rows` new entries of each of the units [begin, end) into their lists.
template <class T, bool largest>
void top_k_units(TopLists<T> lists, UnitColumns<T> scores, UnitColumns<std::int64_t> indices, UnitColumns<std::int64_t> payload,
                 std::int64_t rows, std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t kTile = 256;
  constexpr std::int64_t kGroup = 16;  // most of which change nothing
  T last[kTile];
  for (std::int64_t first = begin; first < end; first += kTile) {
    const std::int64_t units = std::min(kTile, end - first);
    const auto refresh = [&](std::int64_t u) { last[u] = lists.scores[(first + u + 1) * lists.k - 1]; };
    for (std::int64_t u = 0; u < units; ++u) refresh(u);
    for (std::int64_t row = 0; row < rows; ++row) {
      const T* scores_of_row = scores.data + row * scores.row_stride + first * scores.unit_stride;
      const auto visit = [&](std::int64_t u) {
        const T score = scores_of_row[u * scores.unit_stride];
        if (largest ? score < last[u] : score > last[u]) return;
        insert_entry<largest>(lists, first + u, score, indices.at(row, first + u), payload.at(row, first + u));
        refresh(u);
      };
      std::int64_t u = 0;
      if (scores.unit_stride == 1) {
        for (; u + kGroup <= units; u += kGroup) {
          int any = 0;
          for (std::int64_t i = 0; i < kGroup; ++i)
            any |= largest ? scores_of_row[u + i] >= last[u + i] : scores_of_row[u + i] <= last[u + i];
          if (any == 0) continue;
          for (std::int64_t i = 0; i < kGroup; ++i) visit(u + i);
        }
      }
      for (; u < units; ++u) visit(u);
    }
  }
}

}  // namespace captum_proto
