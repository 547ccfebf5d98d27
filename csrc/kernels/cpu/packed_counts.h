// How many bits two masks have in common, for each pair of many.
#pragma once

#include <algorithm>
#include <cstdint>

#include "dispatch.h"

#if defined(CAPTUM_PROTO_HAS_AVX2_VARIANT) && !defined(CAPTUM_PROTO_NO_AVX512)
#define CAPTUM_PROTO_HAS_POPCOUNT_VARIANT 1
#define CAPTUM_PROTO_POPCOUNT __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx512vpopcntdq,popcnt"), flatten))
#endif

namespace captum_proto {

/// Masks (rows, words) of 64 bits a word, with any strides between rows.
struct PackedRows {
  const std::int64_t* data;
  std::int64_t rows, words, row_stride;
};

inline std::int64_t common_bits(const std::int64_t* a, const std::int64_t* b, std::int64_t words) {
  std::int64_t count = 0;
  for (std::int64_t word = 0; word < words; ++word) {
    count += __builtin_popcountll(static_cast<unsigned long long>(a[word]) & static_cast<unsigned long long>(b[word]));
  }
  return count;
}

/// Writes counts (a.rows, b.rows) of the rows [begin, end) of a.
inline void packed_counts_rows(PackedRows a, PackedRows b, std::int64_t* counts, std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t kTile = 16;  // rows of b that stay in the first-level cache while rows of a go by
  for (std::int64_t first = 0; first < b.rows; first += kTile) {
    const std::int64_t last = std::min(first + kTile, b.rows);
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t* of_a = a.data + row * a.row_stride;
      for (std::int64_t other = first; other < last; ++other) {
        counts[row * b.rows + other] = common_bits(of_a, b.data + other * b.row_stride, a.words);
      }
    }
  }
}

#ifdef CAPTUM_PROTO_HAS_POPCOUNT_VARIANT
inline bool has_vector_popcount() {
  static const bool supported = __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512vl") &&
                                __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  return supported;
}

CAPTUM_PROTO_POPCOUNT inline void packed_counts_rows_512(PackedRows a, PackedRows b, std::int64_t* counts, std::int64_t begin,
                                                         std::int64_t end) {
  packed_counts_rows(a, b, counts, begin, end);
}
#endif

/// The same, in the variant that suits this processor.
inline void run_packed_counts(PackedRows a, PackedRows b, std::int64_t* counts, std::int64_t begin, std::int64_t end) {
#ifdef CAPTUM_PROTO_HAS_POPCOUNT_VARIANT
  if (has_vector_popcount()) return packed_counts_rows_512(a, b, counts, begin, end);
#endif
  run<&packed_counts_rows>(a, b, counts, begin, end);
}

}  // namespace captum_proto
