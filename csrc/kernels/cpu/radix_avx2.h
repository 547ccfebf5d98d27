// Two loops over the bins and the keys of a block of values that compilers do not vectorize by themselves.
#pragma once

#include "dispatch.h"

#ifdef CAPTUM_PROTO_HAS_AVX2_VARIANT
#include <immintrin.h>

#include <cstdint>

namespace captum_proto {

/// For each set of kept lanes, of eight, the lanes in the order that moves these to the front.
struct LanesToTheFront {
  alignas(64) std::uint8_t order[256][8];

  constexpr LanesToTheFront() : order() {
    for (unsigned kept = 0; kept < 256; ++kept) {
      unsigned place = 0;
      for (unsigned lane = 0; lane < 8; ++lane)
        if ((kept >> lane & 1) != 0) order[kept][place++] = static_cast<std::uint8_t>(lane);
    }
  }
};

/// Moves those of `size` items, a multiple of eight, that are not `left_out` to the front; returns how many.
__attribute__((target("avx2"))) inline std::int64_t leave_out_avx2(std::int32_t* items, std::int64_t size, std::int32_t left_out) {
  static constexpr LanesToTheFront kTable;
  const __m256i unwanted = _mm256_set1_epi32(left_out);
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < size; i += 8) {
    const __m256i eight = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(items + i));
    const int kept = ~_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(eight, unwanted))) & 255;
    const __m128i order = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kTable.order[kept]));
    const __m256i packed = _mm256_permutevar8x32_epi32(eight, _mm256_cvtepu8_epi32(order));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(items + count), packed);  // never beyond those that are read
    count += __builtin_popcount(static_cast<unsigned>(kept));
  }
  return count;
}

/// Calls visit(i, keys[i] - low) for every key of `size`, a multiple of 32, in [low, low + width), width being at least 1.
template <class Visit>
__attribute__((target("avx2"))) void visit_inside_avx2(const std::uint32_t* keys, std::int64_t size, std::uint32_t low,
                                                       std::uint32_t width, const Visit& visit) {
  const __m256i from = _mm256_set1_epi32(static_cast<int>(low)), last = _mm256_set1_epi32(static_cast<int>(width - 1));
  for (std::int64_t i = 0; i < size; i += 32) {
    __m256i inside[4];
    for (int part = 0; part < 4; ++part) {
      const __m256i key = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(keys + i + 8 * part));
      const __m256i steps = _mm256_sub_epi32(key, from);
      inside[part] = _mm256_cmpeq_epi32(_mm256_min_epu32(steps, last), steps);
    }
    const __m256i any = _mm256_or_si256(_mm256_or_si256(inside[0], inside[1]), _mm256_or_si256(inside[2], inside[3]));
    if (_mm256_testz_si256(any, any)) continue;
    for (int part = 0; part < 4; ++part) {
      unsigned hits = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(inside[part])));
      for (; hits != 0; hits &= hits - 1) {
        const std::int64_t at = i + 8 * part + __builtin_ctz(hits);
        visit(at, keys[at] - low);
      }
    }
  }
}

}  // namespace captum_proto
#endif
