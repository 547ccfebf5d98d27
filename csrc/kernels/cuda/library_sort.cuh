// The library's radix sorts, which are stable. The tests' host replaces them by std::stable_sort.
#pragma once

#include "scratch.cuh"

#if defined(__CUDACC__)
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_segmented_radix_sort.cuh>
#endif

namespace captum_proto::cuda {

/// Two arrays between which a sort moves its items to and fro; afterwards `current` holds them.
template <typename T>
struct Buffers {
  T* current;
  T* spare;
};

template <typename T>
Buffers<T> allocate_buffers(Scratch& scratch, int64_t count) {
  T* current = scratch.allocate<T>(count);
  return Buffers<T>{current, scratch.allocate<T>(count)};
}

/// The sorts' own memory, kept from one call to the next.
struct SortMemory {
  void* data = nullptr;
  size_t size = 0;

  void reserve(size_t wanted, Scratch& scratch) {
    if (data != nullptr && wanted <= size) return;
    data = scratch.bytes(wanted > 0 ? wanted : 1);  // CUB takes a null pointer for a question
    size = wanted;
  }
};

/// Stretches of an array, of which some may be empty, told by where they begin and end in device memory.
struct Segments {
  const int32_t* begins;
  const int32_t* ends;
  int64_t count;
};

#if defined(__CUDACC__)

/// Sorts by the bits [begin_bit, end_bit) alone.
inline void sort_items(Buffers<uint64_t>& items, int64_t count, int begin_bit, int end_bit, SortMemory& memory, Scratch& scratch,
                       cudaStream_t stream) {
  cub::DoubleBuffer<uint64_t> buffer(items.current, items.spare);
  const auto sort = [&](void* data, size_t& size) {
    return cub::DeviceRadixSort::SortKeys(data, size, buffer, static_cast<uint32_t>(count), begin_bit, end_bit, stream);
  };
  size_t needed = 0;
  check(sort(nullptr, needed), "preparing the radix sort");
  memory.reserve(needed, scratch);
  check(sort(memory.data, needed), "the radix sort");
  items = Buffers<uint64_t>{buffer.Current(), buffer.Alternate()};
}

/// Sorts by the bits [begin_bit, end_bit) of keys; each payload goes with its key.
template <typename Key, typename Payload>
void sort_pairs(Buffers<Key>& keys, Buffers<Payload>& payloads, int64_t count, int begin_bit, int end_bit, SortMemory& memory,
                Scratch& scratch, cudaStream_t stream) {
  cub::DoubleBuffer<Key> key_buffer(keys.current, keys.spare);
  cub::DoubleBuffer<Payload> payload_buffer(payloads.current, payloads.spare);
  const auto sort = [&](void* data, size_t& size) {
    return cub::DeviceRadixSort::SortPairs(data, size, key_buffer, payload_buffer, static_cast<uint32_t>(count), begin_bit, end_bit,
                                           stream);
  };
  size_t needed = 0;
  check(sort(nullptr, needed), "preparing the radix sort");
  memory.reserve(needed, scratch);
  check(sort(memory.data, needed), "the radix sort");
  keys = Buffers<Key>{key_buffer.Current(), key_buffer.Alternate()};
  payloads = Buffers<Payload>{payload_buffer.Current(), payload_buffer.Alternate()};
}

/// Sorts each segment; outside of them the buffer that is current afterwards holds nothing of use, and the other one what it did.
/// `only_reserve`: takes the memory that this will need, and does nothing.
inline void sort_segments(Buffers<uint64_t>& items, int64_t count, const Segments& segments, int begin_bit, int end_bit,
                          SortMemory& memory, Scratch& scratch, cudaStream_t stream, bool only_reserve) {
  cub::DoubleBuffer<uint64_t> buffer(items.current, items.spare);
  const auto sort = [&](void* data, size_t& size) {
    return cub::DeviceSegmentedRadixSort::SortKeys(data, size, buffer, static_cast<int>(count), static_cast<int>(segments.count),
                                                   segments.begins, segments.ends, begin_bit, end_bit, stream);
  };
  size_t needed = 0;
  check(sort(nullptr, needed), "preparing the radix sort of parts");
  memory.reserve(needed, scratch);
  if (only_reserve) return;
  check(sort(memory.data, needed), "the radix sort of parts");
  items = Buffers<uint64_t>{buffer.Current(), buffer.Alternate()};
}

template <typename Key, typename Payload>
void sort_segments(Buffers<Key>& keys, Buffers<Payload>& payloads, int64_t count, const Segments& segments, int begin_bit,
                   int end_bit, SortMemory& memory, Scratch& scratch, cudaStream_t stream, bool only_reserve) {
  cub::DoubleBuffer<Key> key_buffer(keys.current, keys.spare);
  cub::DoubleBuffer<Payload> payload_buffer(payloads.current, payloads.spare);
  const auto sort = [&](void* data, size_t& size) {
    return cub::DeviceSegmentedRadixSort::SortPairs(data, size, key_buffer, payload_buffer, static_cast<int>(count),
                                                    static_cast<int>(segments.count), segments.begins, segments.ends, begin_bit,
                                                    end_bit, stream);
  };
  size_t needed = 0;
  check(sort(nullptr, needed), "preparing the radix sort of parts");
  memory.reserve(needed, scratch);
  if (only_reserve) return;
  check(sort(memory.data, needed), "the radix sort of parts");
  keys = Buffers<Key>{key_buffer.Current(), key_buffer.Alternate()};
  payloads = Buffers<Payload>{payload_buffer.Current(), payload_buffer.Alternate()};
}

#else

void sort_segments(Buffers<uint64_t>& items, int64_t count, const Segments& segments, int begin_bit, int end_bit,
                   SortMemory& memory, Scratch& scratch, cudaStream_t stream, bool only_reserve);
template <typename Key, typename Payload>
void sort_segments(Buffers<Key>& keys, Buffers<Payload>& payloads, int64_t count, const Segments& segments, int begin_bit,
                   int end_bit, SortMemory& memory, Scratch& scratch, cudaStream_t stream, bool only_reserve);
void sort_items(Buffers<uint64_t>& items, int64_t count, int begin_bit, int end_bit, SortMemory& memory, Scratch& scratch,
                cudaStream_t stream);
template <typename Key, typename Payload>
void sort_pairs(Buffers<Key>& keys, Buffers<Payload>& payloads, int64_t count, int begin_bit, int end_bit, SortMemory& memory,
                Scratch& scratch, cudaStream_t stream);

#endif

}  // namespace captum_proto::cuda
