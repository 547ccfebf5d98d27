// Rows after their sort: what each position holds.
#pragma once

#include "sort_key.cuh"

namespace captum_proto::cuda {

/// Bits needed to hold 0 … largest.
inline int bits_to_hold(int64_t largest) {
  int bits = 0;
  while (largest >> bits) ++bits;
  return bits;
}

/// Key above payload in one integer. The key may carry the row's number on top; within a row that changes nothing.
struct PackedOrder {
  const uint64_t* items;
  int payload_bits;

  __device__ __forceinline__ PackedOrder row(int64_t row, int length) const {
    return PackedOrder{items + row * length, payload_bits};
  }
  __device__ __forceinline__ uint64_t key(int position) const { return items[position] >> payload_bits; }
  __device__ __forceinline__ int payload(int position) const {
    return static_cast<int>(items[position] & ((uint64_t{1} << payload_bits) - 1));
  }
};

/// Keys too long to leave room for a payload, which lies beside them: the low `payload_bits` of a tag, that may carry the row's
/// number on top.
struct PairOrder {
  const uint64_t* keys;
  const uint32_t* tags;
  int payload_bits;

  __device__ __forceinline__ PairOrder row(int64_t row, int length) const {
    return PairOrder{keys + row * length, tags + row * length, payload_bits};
  }
  __device__ __forceinline__ uint64_t key(int position) const { return keys[position]; }
  __device__ __forceinline__ int payload(int position) const {
    return static_cast<int>(tags[position] & ((uint32_t{1} << payload_bits) - 1));
  }
};

}  // namespace captum_proto::cuda
