// Loops over packed items for processors with AVX-512: collecting, and the sums over a sorted run.
#pragma once

#include <cstddef>
#include <cstdint>

#include "dispatch.h"
#include "float_keys.h"
#include "payload.h"
#include "radix_sort.h"

#ifdef CAPTUM_PROTO_HAS_AVX512_VARIANT
#ifdef CAPTUM_PROTO_AVX512_MODEL
#include "avx512_model.h"
#else
#include <immintrin.h>
#endif

namespace captum_proto {

/// Payloads of sixteen values from index i on.
CAPTUM_PROTO_AVX512 inline __m512i load_16_payloads(const PayloadFrom& payload, std::size_t i) {
  return _mm512_loadu_si512(payload.values + i);
}
CAPTUM_PROTO_AVX512 inline __m512i load_16_payloads(const IndexAsPayload&, std::size_t i) {
  return _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(i)),
                          _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

/// Writes those of eight items that are kept to the front of `out`, which has room for all; returns how many.
CAPTUM_PROTO_AVX512 inline std::size_t pack_8_items(__m256i keys, __m256i payloads, unsigned kept, PackedItem* out) {
  const __m512i items = _mm512_or_si512(_mm512_slli_epi64(_mm512_cvtepu32_epi64(keys), 32), _mm512_cvtepu32_epi64(payloads));
  // To a register and then to memory: processors there are on which to store packed lanes at once takes a hundred cycles.
  _mm512_storeu_si512(out, _mm512_maskz_compress_epi64(static_cast<__mmask8>(kept), items));
  return static_cast<std::size_t>(__builtin_popcount(kept));
}

/// Writes items for the values of [begin, end), a multiple of sixteen, that are not zero; returns how many. `out` has room for
/// end - begin.
template <class Payload>
CAPTUM_PROTO_AVX512 std::size_t collect_nonzero_avx512(const float* values, std::size_t begin, std::size_t end,
                                                       const KeyMap<float>& key, const Payload& payload, PackedItem* out) {
  const __m512i smallest = _mm512_set1_epi32(static_cast<int>(key.smallest()));
  const __m512i offset = _mm512_set1_epi32(static_cast<int>(key.offset()));
  const __m128i shift = _mm_cvtsi32_si128(key.shift());
  const __m512i magnitude_mask = _mm512_set1_epi32(0x7fffffff);
  std::size_t count = 0;
  for (std::size_t i = begin; i < end; i += 16) {
    const __m512i bits = _mm512_loadu_si512(values + i);
    const __m512i magnitude = _mm512_and_si512(bits, magnitude_mask);
    const __m512i steps = _mm512_srl_epi32(_mm512_sub_epi32(magnitude, smallest), shift);
    const __m512i keys = _mm512_add_epi32(_mm512_xor_si512(steps, _mm512_srai_epi32(bits, 31)), offset);
    const __m512i payloads = load_16_payloads(payload, i);
    const unsigned kept = _mm512_test_epi32_mask(magnitude, magnitude);
    count += pack_8_items(_mm512_castsi512_si256(keys), _mm512_castsi512_si256(payloads), kept & 0xff, out + count);
    count += pack_8_items(_mm512_extracti64x4_epi64(keys, 1), _mm512_extracti64x4_epi64(payloads, 1), kept >> 8, out + count);
  }
  return count;
}

/// As BlockSums, eight lanes at a time.
class BlockSumsAvx512 {
 public:
  static constexpr std::size_t kLanes = 8;

  CAPTUM_PROTO_AVX512 BlockSumsAvx512() : sums_(_mm512_setzero_si512()), sums_of_sums_(_mm512_setzero_si512()) {}

  CAPTUM_PROTO_AVX512 std::uint32_t add(const PackedItem* items) {
    const __m512i low_half = _mm512_set1_epi64(0xffffffff), high_half = _mm512_slli_epi64(low_half, 32);
    std::uint32_t different = 0;
    for (int i = 0; i < 32; i += 8) {
      const __m512i here = _mm512_loadu_si512(items + i);
      sums_ = _mm512_add_epi64(sums_, _mm512_and_si512(here, low_half));
      sums_of_sums_ = _mm512_add_epi64(sums_of_sums_, sums_);
      const __m512i changed = _mm512_xor_si512(here, _mm512_loadu_si512(items + i - 1));
      different |= static_cast<std::uint32_t>(_mm512_test_epi64_mask(changed, high_half)) << i;
    }
    return ~different;
  }

  CAPTUM_PROTO_AVX512 void store(std::uint64_t* sums, std::uint64_t* sums_of_sums) const {
    _mm512_storeu_si512(sums, sums_);
    _mm512_storeu_si512(sums_of_sums, sums_of_sums_);
  }

 private:
  __m512i sums_;
  __m512i sums_of_sums_;
};

}  // namespace captum_proto
#endif
