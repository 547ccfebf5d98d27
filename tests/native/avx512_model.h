// AVX-512 played by plain C++, for processors without it: the instructions that csrc/kernels/cpu/avx512.h uses, lane by lane as
// Intel's manual describes them, so that the same source runs everywhere and under sanitizers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

struct __m128i {
  std::uint64_t lanes[2];
};
struct __m256i {
  std::uint32_t lanes[8];
};
struct __m512i {
  std::uint32_t lanes[16];
};
using __mmask8 = std::uint8_t;
using __mmask16 = std::uint16_t;

namespace avx512_model {

inline std::uint64_t wide_lane(const __m512i& a, int lane) {
  return a.lanes[2 * lane] | std::uint64_t{a.lanes[2 * lane + 1]} << 32;
}
inline void set_wide_lane(__m512i& a, int lane, std::uint64_t value) {
  a.lanes[2 * lane] = static_cast<std::uint32_t>(value);
  a.lanes[2 * lane + 1] = static_cast<std::uint32_t>(value >> 32);
}

/// Lanes of 32 bits, each a function of its number.
template <class Lane>
__m512i narrow(const Lane& lane) {
  __m512i out;
  for (int i = 0; i < 16; ++i) out.lanes[i] = static_cast<std::uint32_t>(lane(i));
  return out;
}

/// Lanes of 64 bits.
template <class Lane>
__m512i wide(const Lane& lane) {
  __m512i out;
  for (int i = 0; i < 8; ++i) set_wide_lane(out, i, lane(i));
  return out;
}

}  // namespace avx512_model

inline __m512i _mm512_loadu_si512(const void* memory) {
  __m512i out;
  std::memcpy(&out, memory, sizeof(out));
  return out;
}
inline void _mm512_storeu_si512(void* memory, const __m512i& a) { std::memcpy(memory, &a, sizeof(a)); }
inline __m512i _mm512_setzero_si512() {
  return avx512_model::narrow([](int) { return 0; });
}
inline __m512i _mm512_set1_epi32(int value) {
  return avx512_model::narrow([=](int) { return value; });
}
inline __m512i _mm512_set1_epi64(long long value) {
  return avx512_model::wide([=](int) { return static_cast<std::uint64_t>(value); });
}
template <class... Values>
__m512i _mm512_setr_epi32(Values... values) {
  static_assert(sizeof...(values) == 16, "a value for each lane");
  const int all[] = {values...};
  return avx512_model::narrow([&](int i) { return all[i]; });
}
inline __m512i _mm512_add_epi32(const __m512i& a, const __m512i& b) {
  return avx512_model::narrow([&](int i) { return a.lanes[i] + b.lanes[i]; });
}
inline __m512i _mm512_sub_epi32(const __m512i& a, const __m512i& b) {
  return avx512_model::narrow([&](int i) { return a.lanes[i] - b.lanes[i]; });
}
inline __m512i _mm512_add_epi64(const __m512i& a, const __m512i& b) {
  return avx512_model::wide([&](int i) { return avx512_model::wide_lane(a, i) + avx512_model::wide_lane(b, i); });
}
inline __m512i _mm512_and_si512(const __m512i& a, const __m512i& b) {
  return avx512_model::narrow([&](int i) { return a.lanes[i] & b.lanes[i]; });
}
inline __m512i _mm512_or_si512(const __m512i& a, const __m512i& b) {
  return avx512_model::narrow([&](int i) { return a.lanes[i] | b.lanes[i]; });
}
inline __m512i _mm512_xor_si512(const __m512i& a, const __m512i& b) {
  return avx512_model::narrow([&](int i) { return a.lanes[i] ^ b.lanes[i]; });
}
inline __m128i _mm_cvtsi32_si128(int value) { return {{static_cast<std::uint32_t>(value), 0}}; }
inline __m512i _mm512_srl_epi32(const __m512i& a, const __m128i& count) {
  return avx512_model::narrow([&](int i) { return count.lanes[0] > 31 ? 0 : a.lanes[i] >> count.lanes[0]; });
}
inline __m512i _mm512_srai_epi32(const __m512i& a, unsigned count) {
  return avx512_model::narrow([&](int i) { return static_cast<std::int32_t>(a.lanes[i]) >> (count > 31 ? 31 : count); });
}
inline __m512i _mm512_slli_epi64(const __m512i& a, unsigned count) {
  return avx512_model::wide([&](int i) { return count > 63 ? 0 : avx512_model::wide_lane(a, i) << count; });
}
inline __mmask16 _mm512_test_epi32_mask(const __m512i& a, const __m512i& b) {
  unsigned mask = 0;
  for (int i = 0; i < 16; ++i) mask |= static_cast<unsigned>((a.lanes[i] & b.lanes[i]) != 0) << i;
  return static_cast<__mmask16>(mask);
}
inline __mmask8 _mm512_test_epi64_mask(const __m512i& a, const __m512i& b) {
  unsigned mask = 0;
  for (int i = 0; i < 8; ++i)
    mask |= static_cast<unsigned>((avx512_model::wide_lane(a, i) & avx512_model::wide_lane(b, i)) != 0) << i;
  return static_cast<__mmask8>(mask);
}
inline __m256i _mm512_extracti64x4_epi64(const __m512i& a, int half) {
  __m256i out;
  std::memcpy(&out, a.lanes + 8 * half, sizeof(out));
  return out;
}
inline __m256i _mm512_castsi512_si256(const __m512i& a) { return _mm512_extracti64x4_epi64(a, 0); }
inline __m512i _mm512_cvtepu32_epi64(const __m256i& a) {
  return avx512_model::wide([&](int i) { return std::uint64_t{a.lanes[i]}; });
}
inline __m512i _mm512_maskz_compress_epi64(__mmask8 kept, const __m512i& a) {
  __m512i out = _mm512_setzero_si512();
  int place = 0;
  for (int i = 0; i < 8; ++i)
    if (kept >> i & 1) avx512_model::set_wide_lane(out, place++, avx512_model::wide_lane(a, i));
  return out;
}
