// A part's values, in global or in shared memory: key and the payload that travels with it.
#pragma once

#include "library_sort.cuh"
#include "part_tables.cuh"
#include "sorted_rows.cuh"

namespace captum_proto::cuda {

/// Key above payload in one integer.
template <typename T, bool = (kKeyBits<T> <= 32)>
struct PartValues {
  using Key = Bits<T>;
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
struct PartValues<T, false> {
  using Key = Bits<T>;
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

/// Room for a part in shared memory.
template <typename T, bool = (kKeyBits<T> <= 32)>
struct PartMemory {
  uint64_t items[kPartRoom<T>];
  __device__ PartValues<T> values() { return PartValues<T>{items}; }
};

template <typename T>
struct PartMemory<T, false> {
  uint64_t keys[kPartRoom<T>];
  uint32_t payloads[kPartRoom<T>];
  __device__ PartValues<T> values() { return PartValues<T>{keys, payloads}; }
};

/// The values of a chunk of rows, and what the library needs to sort some of them.
template <typename T, bool = (kKeyBits<T> <= 32)>
struct PartBuffers {
  Buffers<uint64_t> items;

  PartBuffers(Scratch& scratch, int64_t count) : items(allocate_buffers<uint64_t>(scratch, count)) {}
  PartValues<T> values() const { return PartValues<T>{items.current}; }
  void sort(int64_t count, const Segments& segments, SortMemory& memory, Scratch& scratch, cudaStream_t stream, bool only_reserve) {
    sort_segments(items, count, segments, 32, 32 + kKeyBits<T>, memory, scratch, stream, only_reserve);
  }
};

template <typename T>
struct PartBuffers<T, false> {
  Buffers<uint64_t> keys;
  Buffers<uint32_t> payloads;

  PartBuffers(Scratch& scratch, int64_t count)
      : keys(allocate_buffers<uint64_t>(scratch, count)), payloads(allocate_buffers<uint32_t>(scratch, count)) {}
  PartValues<T> values() const { return PartValues<T>{keys.current, payloads.current}; }
  void sort(int64_t count, const Segments& segments, SortMemory& memory, Scratch& scratch, cudaStream_t stream, bool only_reserve) {
    sort_segments(keys, payloads, count, segments, 0, kKeyBits<T>, memory, scratch, stream, only_reserve);
  }
};

}  // namespace captum_proto::cuda
