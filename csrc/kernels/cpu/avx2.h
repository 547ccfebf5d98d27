// Two loops over packed items that compilers do not vectorize by themselves.
#pragma once

#include "dispatch.h"
#include "float_keys.h"
#include "payload.h"
#include "radix_sort.h"

#ifdef CAPTUM_PROTO_HAS_AVX2_VARIANT
#include <immintrin.h>

namespace captum_proto {

/// For each set of kept lanes, of four, the order of 32-bit halves that moves them to the front.
struct PackingTable {
  alignas(32) std::uint32_t order[16][8];

  constexpr PackingTable() : order() {
    for (std::uint32_t kept = 0; kept < 16; ++kept) {
      std::uint32_t place = 0;
      for (std::uint32_t lane = 0; lane < 4; ++lane) {
        if ((kept >> lane & 1) == 0) continue;
        order[kept][place++] = 2 * lane;
        order[kept][place++] = 2 * lane + 1;
      }
    }
  }
};

/// Payloads of eight values from index i on.
__attribute__((target("avx2"))) inline __m256i load_payloads(const PayloadFrom& payload, std::size_t i) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(payload.values + i));
}
__attribute__((target("avx2"))) inline __m256i load_payloads(const IndexAsPayload&, std::size_t i) {
  return _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(i)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/// Writes items for the values of [begin, end), a multiple of eight, that are not zero; returns how many. Their order changes
/// within groups of eight. `out` has room for end - begin.
template <class Payload>
__attribute__((target("avx2"))) std::size_t collect_nonzero_avx2(const float* values, std::size_t begin, std::size_t end,
                                                                 const KeyMap<float>& key, const Payload& payload,
                                                                 PackedItem* out) {
  static constexpr PackingTable kTable;
  const __m256i smallest = _mm256_set1_epi32(static_cast<int>(key.smallest()));
  const __m256i offset = _mm256_set1_epi32(static_cast<int>(key.offset()));
  const __m128i shift = _mm_cvtsi32_si128(key.shift());
  const __m256i magnitude_mask = _mm256_set1_epi32(0x7fffffff);
  std::size_t count = 0;
  const auto pack = [&](__m256i items, int kept) __attribute__((target("avx2"), always_inline)) {
    const __m256i order = _mm256_load_si256(reinterpret_cast<const __m256i*>(kTable.order[kept]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + count), _mm256_permutevar8x32_epi32(items, order));
    count += static_cast<std::size_t>(__builtin_popcount(kept));
  };
  for (std::size_t i = begin; i < end; i += 8) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values + i));
    const __m256i magnitude = _mm256_and_si256(bits, magnitude_mask);
    const __m256i steps = _mm256_srl_epi32(_mm256_sub_epi32(magnitude, smallest), shift);
    const __m256i keys = _mm256_add_epi32(_mm256_xor_si256(steps, _mm256_srai_epi32(bits, 31)), offset);
    const __m256i payloads = load_payloads(payload, i);
    const __m256i zero = _mm256_cmpeq_epi32(magnitude, _mm256_setzero_si256());
    // Little-endian items have their payload in front. Unpacking takes values 0, 1, 4, 5, and then 2, 3, 6, 7.
    pack(_mm256_unpacklo_epi32(payloads, keys), ~_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_unpacklo_epi32(zero, zero))) & 15);
    pack(_mm256_unpackhi_epi32(payloads, keys), ~_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_unpackhi_epi32(zero, zero))) & 15);
  }
  return count;
}

/// Bit i says whether items[i] has the key of items[i - 1], for i from 0 to 31.
__attribute__((target("avx2"))) inline std::uint32_t equal_to_previous_avx2(const PackedItem* items) {
  std::uint32_t equal = 0;
  for (int i = 0; i < 32; i += 4) {
    const __m256i here = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(items + i));
    const __m256i previous = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(items + i - 1));
    // Halves are compared; the mask takes the upper ones, which are the keys.
    const __m256d equal_halves = _mm256_castsi256_pd(_mm256_cmpeq_epi32(here, previous));
    equal |= static_cast<std::uint32_t>(_mm256_movemask_pd(equal_halves)) << i;
  }
  return equal;
}

}  // namespace captum_proto
#endif
