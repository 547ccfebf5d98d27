// Long rows of 16-bit values: a histogram over all 65,536 of them says every rank, without a sort.
#pragma once

#include <algorithm>

#include "../limits.h"
#include "long_rows.cuh"

namespace captum_proto::cuda {

constexpr int kScanThreads = 1024;
constexpr int kBinsPerWarp = kBins / (kScanThreads / kWarp);

/// One row's histogram: how often each key occurs, and the sum of the reference's doubled ranks there (null for ranks alone).
struct Histograms {
  int32_t* counts;
  unsigned long long* sums;
};

/// Adds the rows [first_row, first_row + rows) to their histograms, which start as zeros.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads) count_values(Rows<T> x, Rows<int32_t> reference, int64_t first_row, int64_t rows,
                                                              int length, Histograms histograms, int32_t* has_nan) {
  const int64_t tiles = ceil_div(length, kTile);
  for (int64_t task = blockIdx.x; task < rows * tiles; task += gridDim.x) {
    const int64_t row = task / tiles;
    const int begin = static_cast<int>(task % tiles) * kTile;
    const int end = length - begin < kTile ? length : begin + kTile;
    int32_t* counts = histograms.counts + row * kBins;
    unsigned long long* sums = histograms.sums == nullptr ? nullptr : histograms.sums + row * kBins;
    bool met_nan = false;
    // Zeros, often half of a layer, would queue up at one address: each block adds its own up first.
    int zeros = 0;
    unsigned long long zeros_sum = 0;
    for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += static_cast<int>(blockDim.x)) {
      const T value = x.at(first_row + row, i);
      met_nan |= is_nan(value);
      const uint16_t key = sort_key(value);
      const unsigned long long rank = sums == nullptr ? 0 : static_cast<uint32_t>(reference.at(first_row + row, i));
      if (key == kSign<T>) {
        ++zeros;
        zeros_sum += rank;
      } else {
        atomicAdd(counts + key, 1);
        if (sums != nullptr) atomicAdd(sums + key, rank);
      }
    }
    zeros = block_sum(zeros);
    zeros_sum = block_sum(zeros_sum);
    if (threadIdx.x == 0 && zeros > 0) {
      atomicAdd(counts + kSign<T>, zeros);
      if (sums != nullptr) atomicAdd(sums + kSign<T>, zeros_sum);
    }
    note_nan(met_nan, has_nan + first_row + row);
  }
}

/// Calls visit(bin, begin, count) for every bin, where `begin` values lie in lower bins. Every thread of a block of kScanThreads
/// calls it; a warp scans a stretch of bins. May be called again after the block's next barrier.
template <class Visit>
__device__ void visit_bins(const int32_t* counts, Visit& visit) {
  using PerWarp = int32_t[kScanThreads / kWarp];
  CAPTUM_PROTO_SHARED(PerWarp, stretches);
  const int lane = lane_of_thread();
  const int first = warp_of_thread() * kBinsPerWarp;
  int32_t total = 0;
  for (int bin = first + lane; bin < first + kBinsPerWarp; bin += kWarp) total += counts[bin];
  total = warp_sum(total);
  if (lane == 0) stretches[warp_of_thread()] = total;
  __syncthreads();
  int32_t begin = 0;
  for (int warp = 0; warp < warp_of_thread(); ++warp) begin += stretches[warp];
  for (int bin = first + lane; bin < first + kBinsPerWarp; bin += kWarp) {
    const int32_t count = counts[bin];
    int32_t up_to_here = count;
    for (int offset = 1; offset < kWarp; offset *= 2) {
      const int32_t before = __shfl_up_sync(kAllLanes, up_to_here, offset);
      if (lane >= offset) up_to_here += before;
    }
    visit(bin, begin + up_to_here - count, count);
    begin += __shfl_sync(kAllLanes, up_to_here, kWarp - 1);
  }
}

struct SumBins {
  const unsigned long long* reference_sums;
  int length;
  WideSum products;
  WideSum squares;

  __device__ void operator()(int bin, int32_t begin, int32_t count) {
    if (count == 0) return;
    const long long mine = 2 * static_cast<long long>(begin) + count - length;  // doubled rank, centered
    const long long theirs = static_cast<long long>(reference_sums[bin]) - static_cast<long long>(count) * (length + 1);
    products.add_product(mine, theirs);
    squares.add_product(count, mine * mine);
  }
};

/// sums[first_row + row] from the row's histogram.
static __global__ void __launch_bounds__(kScanThreads)
    sum_bins(Histograms histograms, int64_t first_row, int64_t rows, int length, RowSums* sums) {
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    SumBins bins{histograms.sums + row * kBins, length, WideSum{0, 0}, WideSum{0, 0}};
    visit_bins(histograms.counts + row * kBins, bins);
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
static __global__ void __launch_bounds__(kScanThreads) rank_bins(int32_t* counts, int64_t rows) {
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    RankBins bins{counts + row * kBins};
    visit_bins(counts + row * kBins, bins);
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

/// Calls task(first_row, rows, histograms) for chunks of rows, with cleared histograms that together keep to the scratch budget.
template <class Task>
void for_histogram_chunks(int64_t rows, int64_t chunk_values, bool with_sums, Scratch& scratch, cudaStream_t stream,
                          const Task& task) {
  const int64_t chunk_rows = std::min(rows, std::max<int64_t>(1, chunk_values / kBins));
  const auto begin = [&](int64_t most) {
    Histograms histograms{scratch.allocate<int32_t>(most * kBins), nullptr};
    if (with_sums) histograms.sums = scratch.allocate<unsigned long long>(most * kBins);
    return histograms;
  };
  for_chunks(rows, chunk_rows, scratch, begin, [&](const Histograms& histograms, int64_t first, int64_t count) {
    fill_zero(histograms.counts, static_cast<size_t>(count) * kBins * sizeof(int32_t), stream);
    if (with_sums) fill_zero(histograms.sums, static_cast<size_t>(count) * kBins * sizeof(unsigned long long), stream);
    task(first, count, histograms);
  });
}

/// sums = the rows' sums of products with the reference. `has_nan` starts as zeros.
template <typename T>
void correlate_half_rows(const Rows<T>& x, const Rows<int32_t>& reference, int64_t rows, int length, int64_t chunk_values,
                         int32_t* has_nan, RowSums* sums, Scratch& scratch, cudaStream_t stream) {
  const int64_t tiles = ceil_div(length, kTile);
  for_histogram_chunks(rows, chunk_values, true, scratch, stream, [&](int64_t first, int64_t count, const Histograms& histograms) {
    launch("counting values", count_values<T>, grid_for(count * tiles), kBlockThreads, 0, stream, x, reference, first, count,
           length, histograms, has_nan);
    launch("summing bins", sum_bins, grid_for(count), kScanThreads, 0, stream, histograms, first, count, length, sums);
  });
}

/// ranks = the rows' doubled ranks. `has_nan` starts as zeros.
template <typename T>
void rank_half_rows(const Rows<T>& x, int64_t rows, int length, int64_t chunk_values, int32_t* has_nan, int32_t* ranks,
                    Scratch& scratch, cudaStream_t stream) {
  const int64_t tiles = ceil_div(length, kTile);
  for_histogram_chunks(rows, chunk_values, false, scratch, stream, [&](int64_t first, int64_t count, const Histograms& histograms) {
    launch("counting values", count_values<T>, grid_for(count * tiles), kBlockThreads, 0, stream, x, Rows<int32_t>{nullptr, 0, 0},
           first, count, length, histograms, has_nan);
    launch("ranking bins", rank_bins, grid_for(count), kScanThreads, 0, stream, histograms.counts, count);
    launch("looking ranks up", look_up_ranks<T>, grid_for(count * tiles), kBlockThreads, 0, stream, x, histograms.counts, has_nan,
           first, count, length, ranks);
  });
}

}  // namespace captum_proto::cuda
