// Sums of products of doubled ranks, exact for rows of up to 2^28 values, whose sums reach 2^84.
#pragma once

#include "../limits.h"
#include "platform.cuh"

namespace captum_proto::cuda {

/// The integer high * 2^32 + low, where `high` is signed (two's complement) and `low` collects what fills 32 bits.
///
/// Each addition adds less than 2^32 to `low`, so 2^28 of them cannot overflow it. Both halves are plain integers, so they add
/// in any order, and atomically, to the same result. Unsigned long long is the type of CUDA's 64-bit atomics.
struct WideSum {
  static_assert(kLongestRow <= int64_t{1} << 28, "a row's sums would overflow");

  unsigned long long low;
  unsigned long long high;

  __device__ __forceinline__ void add(long long value) {
    low += static_cast<unsigned long long>(value) & 0xffffffffull;
    high += static_cast<unsigned long long>(value >> 32);
  }

  /// Adds a * b for |a| < 2^29 and |b| < 2^58.
  __device__ __forceinline__ void add_product(long long a, long long b) {
    add(a * static_cast<long long>(static_cast<unsigned long long>(b) & 0xffffffffull));
    high += static_cast<unsigned long long>(a * (b >> 32));
  }

  __device__ __forceinline__ void add_atomically(const WideSum& other) {
    atomicAdd(&low, other.low);
    atomicAdd(&high, other.high);
  }

  /// The sum, rounded once: both parts are exact in double.
  __device__ __forceinline__ double to_double() const {
    const long long upper = static_cast<long long>(high + (low >> 32));
    const double lower = static_cast<double>(low & 0xffffffffull);
    return __dadd_rn(__dmul_rn(static_cast<double>(upper), 4294967296.0), lower);
  }
};

}  // namespace captum_proto::cuda
