// Running sums over rows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "float_values.h"

namespace captum_proto {

/// Adds values [begin, end) of `count` rows to `sums`, row after row: the sums do not depend on how rows come in batches.
template <class T>
void accumulate_values(const T* rows, std::int64_t row_stride, std::int64_t stride, std::int64_t count, std::int64_t begin,
                       std::int64_t end, double* sums) {
  constexpr std::int64_t kBlock = 2048;  // sums that stay in the first-level cache while all rows are added
  for (std::int64_t first = begin; first < end; first += kBlock) {
    const std::int64_t last = std::min(first + kBlock, end);
    for (std::int64_t i = 0; i < count; ++i) {
      const T* row = rows + i * row_stride;
      if (stride == 1) {
        for (std::int64_t j = first; j < last; ++j) sums[j] += static_cast<double>(widen(row[j]));
      } else {
        for (std::int64_t j = first; j < last; ++j) sums[j] += static_cast<double>(widen(row[j * stride]));
      }
    }
  }
}

}  // namespace captum_proto
