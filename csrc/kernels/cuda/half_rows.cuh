// Long rows of 16-bit values: a histogram over all 65,536 of them says every rank, without a sort.
#pragma once

#include <algorithm>
#include <utility>

#include "../limits.h"
#include "long_rows.cuh"

namespace captum_proto::cuda {

constexpr int kScanThreads = 1024;
constexpr int kBinsPerWarp = kBins / (kScanThreads / kWarp);

/// How often each key of a row occurs.
struct Counts {
  static constexpr bool kHasSums = false;
  int32_t* counts;

  static size_t bytes(int64_t rows) { return static_cast<size_t>(rows) * kBins * sizeof(int32_t); }
  __device__ __forceinline__ Counts row(int64_t row) const { return Counts{counts + row * kBins}; }
  __device__ __forceinline__ void add(int bin, int32_t count, unsigned long long /*sum*/) const { atomicAdd(counts + bin, count); }
  __device__ __forceinline__ int32_t count(int bin) const { return counts[bin]; }
};

/// The same, and the sum of the reference's doubled ranks where it does: in one integer, the count above the sum, as far as both
/// fit.
struct PackedSums {
  static constexpr bool kHasSums = true;
  unsigned long long* bins;
  int sum_bits;

  /// The bits of the sum of all doubled ranks, and whether they leave room for the count of all.
  static int bits_of_sum(int64_t length) { return bits_to_hold(length * (length + 1)); }
  static bool fit(int64_t length) { return bits_of_sum(length) + bits_to_hold(length) <= 64; }

  static size_t bytes(int64_t rows) { return static_cast<size_t>(rows) * kBins * sizeof(unsigned long long); }
  __device__ __forceinline__ PackedSums row(int64_t row) const { return PackedSums{bins + row * kBins, sum_bits}; }
  __device__ __forceinline__ void add(int bin, int32_t count, unsigned long long sum) const {
    atomicAdd(bins + bin, (static_cast<unsigned long long>(count) << sum_bits) + sum);
  }
  __device__ __forceinline__ int32_t count(int bin) const { return static_cast<int32_t>(bins[bin] >> sum_bits); }
  __device__ __forceinline__ unsigned long long sum(int bin) const { return bins[bin] & ((1ull << sum_bits) - 1); }
};

/// The same in two integers, for longer rows.
struct SeparateSums {
  static constexpr bool kHasSums = true;
  unsigned long long* sums;
  int32_t* counts;

  static size_t bytes(int64_t rows) { return static_cast<size_t>(rows) * kBins * (sizeof(unsigned long long) + sizeof(int32_t)); }
  __device__ __forceinline__ SeparateSums row(int64_t row) const { return SeparateSums{sums + row * kBins, counts + row * kBins}; }
  __device__ __forceinline__ void add(int bin, int32_t count, unsigned long long sum) const {
    atomicAdd(counts + bin, count);
    atomicAdd(sums + bin, sum);
  }
  __device__ __forceinline__ int32_t count(int bin) const { return counts[bin]; }
  __device__ __forceinline__ unsigned long long sum(int bin) const { return sums[bin]; }
};

/// Adds the rows [first_row, first_row + rows) to their histograms, which start as zeros; and their distances.
template <typename T, class Histogram, class Distance>
__global__ void __launch_bounds__(kBlockThreads)
    count_values(Rows<T> x, Rows<int32_t> reference, Distance distance, int64_t first_row, int64_t rows, int length,
                 Histogram histograms, int32_t* has_nan) {
  const int64_t tiles = ceil_div(length, kDistanceTile);
  for (int64_t task = blockIdx.x; task < rows * tiles; task += gridDim.x) {
    const int64_t row = task / tiles;
    const int begin = static_cast<int>(task % tiles) * kDistanceTile;
    const int end = length - begin < kDistanceTile ? length : begin + kDistanceTile;
    const Histogram histogram = histograms.row(row);
    bool met_nan = false;
    auto sum = distance.start();
    // Zeros, often half of a layer, would queue up at one address: each block adds its own up first.
    int zeros = 0;
    unsigned long long zeros_sum = 0;
    for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += static_cast<int>(blockDim.x)) {
      const T value = x.at(first_row + row, i);
      met_nan |= is_nan(value);
      sum.add(value, first_row + row, i);
      const uint16_t key = sort_key(value);
      unsigned long long rank = 0;
      if constexpr (Histogram::kHasSums) rank = static_cast<uint32_t>(reference.at(first_row + row, i));
      if (key == kSign<T>) {
        ++zeros;
        zeros_sum += rank;
      } else {
        histogram.add(key, 1, rank);
      }
    }
    zeros = block_sum(zeros);
    if constexpr (Histogram::kHasSums) zeros_sum = block_sum(zeros_sum);
    if (threadIdx.x == 0 && zeros > 0) histogram.add(kSign<T>, zeros, zeros_sum);
    sum.finish(first_row + row, task % tiles, tiles);
    note_nan(met_nan, has_nan + first_row + row);
  }
}

/// Calls visit(bin, begin, count) for every bin, where `begin` values lie in lower bins. Every thread of a block of kScanThreads
/// calls it; a warp scans a stretch of bins. May be called again after the block's next barrier.
template <class Histogram, class Visit>
__device__ void visit_bins(const Histogram& histogram, Visit& visit) {
  using PerWarp = int32_t[kScanThreads / kWarp];
  CAPTUM_PROTO_SHARED(PerWarp, stretches);
  const int lane = lane_of_thread();
  const int first = warp_of_thread() * kBinsPerWarp;
  int32_t total = 0;
  for (int bin = first + lane; bin < first + kBinsPerWarp; bin += kWarp) total += histogram.count(bin);
  total = warp_sum(total);
  if (lane == 0) stretches[warp_of_thread()] = total;
  __syncthreads();
  int32_t begin = 0;
  for (int warp = 0; warp < warp_of_thread(); ++warp) begin += stretches[warp];
  for (int bin = first + lane; bin < first + kBinsPerWarp; bin += kWarp) {
    const int32_t count = histogram.count(bin);
    int32_t up_to_here = count;
    for (int offset = 1; offset < kWarp; offset *= 2) {
      const int32_t before = __shfl_up_sync(kAllLanes, up_to_here, offset);
      if (lane >= offset) up_to_here += before;
    }
    visit(bin, begin + up_to_here - count, count);
    begin += __shfl_sync(kAllLanes, up_to_here, kWarp - 1);
  }
}

template <class Histogram>
struct SumBins {
  Histogram histogram;
  int length;
  WideSum products;
  WideSum squares;

  __device__ void operator()(int bin, int32_t begin, int32_t count) {
    if (count == 0) return;
    const long long mine = 2 * static_cast<long long>(begin) + count - length;  // doubled rank, centered
    const long long theirs = static_cast<long long>(histogram.sum(bin)) - static_cast<long long>(count) * (length + 1);
    products.add_product(mine, theirs);
    squares.add_product(count, mine * mine);
  }
};

/// sums[first_row + row] from the row's histogram.
template <class Histogram>
__global__ void __launch_bounds__(kScanThreads, 1)  // where the compiler is not told, it spills for a second block
    sum_bins(Histogram histograms, int64_t first_row, int64_t rows, int length, RowSums* sums) {
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    SumBins<Histogram> bins{histograms.row(row), length, WideSum{0, 0}, WideSum{0, 0}};
    visit_bins(bins.histogram, bins);
    const WideSum products = block_sum(bins.products);
    const WideSum squares = block_sum(bins.squares);
    if (threadIdx.x == 0) sums[first_row + row] = RowSums{products, squares};
    __syncthreads();  // before the next row's scan
  }
}

struct RankBins {
  int32_t* ranks;
  __device__ void operator()(int bin, int32_t begin, int32_t count) { ranks[bin] = 2 * begin + count + 1; }
};

/// Puts each bin's doubled rank in the place of its count.
static __global__ void __launch_bounds__(kScanThreads) rank_bins(Counts histograms, int64_t rows) {
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    RankBins bins{histograms.row(row).counts};
    visit_bins(histograms.row(row), bins);
    __syncthreads();  // before the next row's scan
  }
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads) look_up_ranks(Rows<T> x, const int32_t* bin_ranks, const int32_t* has_nan,
                                                               int64_t first_row, int64_t rows, int length, int32_t* ranks) {
  const int64_t tiles = ceil_div(length, kTile);
  for (int64_t task = blockIdx.x; task < rows * tiles; task += gridDim.x) {
    const int64_t row = task / tiles;
    const int begin = static_cast<int>(task % tiles) * kTile;
    const int end = length - begin < kTile ? length : begin + kTile;
    const bool valid = has_nan[first_row + row] == 0;
    for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += static_cast<int>(blockDim.x)) {
      ranks[(first_row + row) * length + i] = valid ? bin_ranks[row * kBins + sort_key(x.at(first_row + row, i))] : 0;
    }
  }
}

/// Calls task(first_row, rows, memory) for chunks of rows, with cleared memory for their histograms that keeps to the scratch
/// budget.
template <class Histogram, class Task>
void for_histogram_chunks(int64_t rows, int64_t chunk_values, Scratch& scratch, cudaStream_t stream, const Task& task) {
  const int64_t chunk_rows = std::min(rows, std::max<int64_t>(1, chunk_values / kBins));
  const auto begin = [&](int64_t most) { return std::make_pair(most, scratch.bytes(Histogram::bytes(most))); };
  for_chunks(rows, chunk_rows, scratch, begin, [&](const std::pair<int64_t, void*>& chunk, int64_t first, int64_t count) {
    const auto [most, memory] = chunk;
    fill_zero(memory, Histogram::bytes(most), stream);
    task(first, count, most, memory);
  });
}

/// sums = the rows' sums of products with the reference. `has_nan` starts as zeros. `packed`: see PackedSums.
template <typename T, class Distance>
void correlate_half_rows(const Rows<T>& x, const Rows<int32_t>& reference, const Distance& distance, int64_t rows, int length,
                         int64_t chunk_values, int32_t* has_nan, RowSums* sums, Scratch& scratch, cudaStream_t stream,
                         bool packed) {
  const int64_t tiles = ceil_div(length, kDistanceTile);
  const auto count_and_sum = [&](int64_t first, int64_t count, auto histograms) {
    using Histogram = decltype(histograms);
    launch("counting values", count_values<T, Histogram, Distance>, grid_for(count * tiles), kBlockThreads, 0, stream, x, reference,
           distance, first, count, length, histograms, has_nan);
    launch("summing bins", sum_bins<Histogram>, grid_for(count), kScanThreads, 0, stream, histograms, first, count, length, sums);
  };
  if (packed) {
    for_histogram_chunks<PackedSums>(rows, chunk_values, scratch, stream, [&](int64_t first, int64_t count, int64_t, void* memory) {
      count_and_sum(first, count, PackedSums{static_cast<unsigned long long*>(memory), PackedSums::bits_of_sum(length)});
    });
  } else {
    for_histogram_chunks<SeparateSums>(
        rows, chunk_values, scratch, stream, [&](int64_t first, int64_t count, int64_t most, void* memory) {
          unsigned long long* const rank_sums = static_cast<unsigned long long*>(memory);
          count_and_sum(first, count, SeparateSums{rank_sums, reinterpret_cast<int32_t*>(rank_sums + most * kBins)});
        });
  }
}

/// ranks = the rows' doubled ranks. `has_nan` starts as zeros.
template <typename T>
void rank_half_rows(const Rows<T>& x, int64_t rows, int length, int64_t chunk_values, int32_t* has_nan, int32_t* ranks,
                    Scratch& scratch, cudaStream_t stream) {
  const int64_t tiles = ceil_div(length, kTile);
  for_histogram_chunks<Counts>(rows, chunk_values, scratch, stream, [&](int64_t first, int64_t count, int64_t, void* memory) {
    const Counts histograms{static_cast<int32_t*>(memory)};
    launch("counting values", count_values<T, Counts, NoDistance>, grid_for(count * ceil_div(length, kDistanceTile)), kBlockThreads,
           0, stream, x, Rows<int32_t>{nullptr, 0, 0}, NoDistance{}, first, count, length, histograms, has_nan);
    launch("ranking bins", rank_bins, grid_for(count), kScanThreads, 0, stream, histograms, count);
    launch("looking ranks up", look_up_ranks<T>, grid_for(count * tiles), kBlockThreads, 0, stream, x, histograms.counts, has_nan,
           first, count, length, ranks);
  });
}

}  // namespace captum_proto::cuda
