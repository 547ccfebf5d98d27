// Sums of products of ranks, without rounding.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#ifndef __SIZEOF_INT128__
#error "captum_proto's CPU kernels need a compiler with 128-bit integers, such as GCC or Clang."
#endif

namespace captum_proto {

__extension__ typedef __int128 Int128;

/// Doubled ranks of rows of `size` values average to this, whatever the values.
inline std::int64_t doubled_rank_mean(std::size_t size) { return static_cast<std::int64_t>(size) + 1; }

/// The sum of squares of a row's doubled ranks about their mean, where ties have lost it `tie_loss`: the sum of t^3 - t over groups
/// of t equal values.
inline Int128 sum_of_squares(std::size_t size, Int128 tie_loss) {
  const Int128 d = static_cast<Int128>(size);
  return (d * d * d - d - tie_loss) / 3;
}

inline Int128 tie_loss_of_group(std::size_t size) {
  const Int128 t = static_cast<Int128>(size);
  return t * t * t - t;
}

/// What a correlation has to know of its second row, the one that comes as doubled ranks.
struct RankedRow {
  const std::int32_t* ranks;
  Int128 sum = 0;
  Int128 squares = 0;  // about the mean
  bool has_nan = false;

  RankedRow(const std::int32_t* ranks, std::size_t size) : RankedRow(ranks, size, doubled_rank_mean(size)) {}

  /// Of `size` ranks of a row whose ranks average to `mean_rank`.
  RankedRow(const std::int32_t* ranks, std::size_t size, std::int64_t mean_rank)
      : ranks(ranks), has_nan(size == 0 || ranks[0] == 0) {
    const auto mean = static_cast<std::uint32_t>(mean_rank);
    // So many squares, each below that of the mean, fit 64 bits.
    const auto largest = static_cast<std::uint64_t>(mean_rank) * static_cast<std::uint64_t>(mean_rank);
    const std::size_t block = std::min<std::uint64_t>(4096, ~std::uint64_t{0} / std::max<std::uint64_t>(1, largest));
    for (std::size_t begin = 0; begin < size; begin += block) {
      const std::size_t end = begin + block < size ? begin + block : size;
      std::int64_t block_sum = 0;
      std::uint64_t block_squares = 0;
      for (std::size_t i = begin; i < end; ++i) {
        const auto centered = static_cast<std::int32_t>(static_cast<std::uint32_t>(ranks[i]) - mean);
        block_sum += ranks[i];
        block_squares += static_cast<std::uint64_t>(std::int64_t{centered} * centered);
      }
      sum += block_sum;
      squares += block_squares;
    }
  }
};

inline RankedRow summarize_ranks(const std::int32_t* ranks, std::size_t size) { return RankedRow(ranks, size); }
inline RankedRow summarize_share_of_ranks(const std::int32_t* ranks, std::size_t size, std::int64_t mean_rank) {
  return RankedRow(ranks, size, mean_rank);
}

/// The last step, and the only one that rounds: each sum once to double, then product, root and quotient.
inline double correlation(Int128 xy, Int128 xx, Int128 yy) {
  const double rho = static_cast<double>(xy) / std::sqrt(static_cast<double>(xx) * static_cast<double>(yy));
  return rho < -1.0 ? -1.0 : rho > 1.0 ? 1.0 : rho;  // 0 / 0, a constant row, stays NaN
}

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

}  // namespace captum_proto
