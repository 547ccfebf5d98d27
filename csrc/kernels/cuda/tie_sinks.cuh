// What becomes of each value once its place in the sorted row is known. A group at [begin, end) has the ranks begin + 1 … end,
// whose average, doubled, is begin + end + 1.
#pragma once

#include "block_sum.cuh"

namespace captum_proto::cuda {

/// Centered sums of one row's doubled ranks: with the reference's, and of its own squares.
struct RowSums {
  WideSum products;
  WideSum squares;
};

/// The payload is the value's index: its doubled rank goes there; zeros where the row holds a NaN.
struct WriteRanks {
  int32_t* ranks;
  const int32_t* has_nan;
  int32_t* row_ranks;
  bool valid;

  __device__ void start(int64_t row, int length) {
    row_ranks = ranks + row * length;
    valid = has_nan[row] == 0;
  }
  __device__ __forceinline__ void visit(int index, int begin, int end) { row_ranks[index] = valid ? begin + end + 1 : 0; }
  __device__ void finish(int64_t /*row*/) {}
};

/// The payload is the doubled rank of the reference: sums of products are all that is needed of the row.
struct SumProducts {
  RowSums* sums;
  int length;
  long long products;  // of the at most kTile / blockDim values of one thread: below 2^63
  long long squares;

  __device__ void start(int64_t /*row*/, int row_length) {
    length = row_length;
    products = 0;
    squares = 0;
  }
  __device__ __forceinline__ void visit(int reference, int begin, int end) {
    const int mine = begin + end - length;  // begin + end + 1, less the center length + 1
    const int theirs = reference - (length + 1);
    products += static_cast<long long>(mine) * theirs;
    squares += static_cast<long long>(mine) * mine;
  }
  __device__ void finish(int64_t row) {
    WideSum all_products{0, 0};
    WideSum all_squares{0, 0};
    all_products.add(products);
    all_squares.add(squares);
    all_products = block_sum(all_products);
    all_squares = block_sum(all_squares);
    if (threadIdx.x == 0) {
      sums[row].products.add_atomically(all_products);
      sums[row].squares.add_atomically(all_squares);
    }
  }
};

}  // namespace captum_proto::cuda
