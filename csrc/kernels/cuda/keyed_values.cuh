// Values as blocks sort them, in global or in shared memory: a key, and the payload that travels with it.
#pragma once

#include "sorted_rows.cuh"

namespace captum_proto::cuda {

/// Key above payload in one integer.
template <typename T, bool = (kKeyBits<T> <= 32)>
struct KeyedValues {
  using Key = uint32_t;
  using Item = uint64_t;
  uint64_t* items;

  static __device__ __forceinline__ Item item(Key key, uint32_t payload) { return static_cast<uint64_t>(key) << 32 | payload; }
  static __device__ __forceinline__ Key key(Item item) { return static_cast<Key>(item >> 32); }
  __device__ __forceinline__ Item get(int64_t i) const { return items[i]; }
  __device__ __forceinline__ void put(int64_t i, Item item) const { items[i] = item; }
  __device__ __forceinline__ PackedOrder order_from(int64_t i) const { return PackedOrder{items + i, 32}; }
};

/// A key of 64 bits, and the payload elsewhere.
template <typename T>
struct KeyedValues<T, false> {
  using Key = uint64_t;
  struct Item {
    uint64_t key;
    uint32_t payload;
  };
  uint64_t* keys;
  uint32_t* payloads;

  static __device__ __forceinline__ Item item(Key key, uint32_t payload) { return Item{key, payload}; }
  static __device__ __forceinline__ Key key(const Item& item) { return item.key; }
  __device__ __forceinline__ Item get(int64_t i) const { return Item{keys[i], payloads[i]}; }
  __device__ __forceinline__ void put(int64_t i, const Item& item) const {
    keys[i] = item.key;
    payloads[i] = item.payload;
  }
  __device__ __forceinline__ PairOrder order_from(int64_t i) const { return PairOrder{keys + i, payloads + i, 31}; }
};

}  // namespace captum_proto::cuda
