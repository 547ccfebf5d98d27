// L1 distance between two rows.
#pragma once

#include <cmath>
#include <cstddef>

#include "float_values.h"

namespace captum_proto {

/// The sum of |x - mean| in double, in an order that depends on the length alone: value i goes to sum i mod 16, then the sums are
/// added in order.
template <class T, class Mean>
double l1_row(const T* x, const Mean* mean, std::size_t size) {
  constexpr std::size_t lanes = 16;
  double sums[lanes] = {};
  const auto add = [&](std::size_t first, std::size_t count) {
    double values[lanes];  // in two loops, as compilers vectorize neither conversions within sums nor sums within conversions
    for (std::size_t lane = 0; lane < count; ++lane) values[lane] = static_cast<double>(widen(x[first + lane]));
    for (std::size_t lane = 0; lane < count; ++lane)
      sums[lane] += std::fabs(values[lane] - static_cast<double>(mean[first + lane]));
  };
  std::size_t i = 0;
  for (; i + lanes <= size; i += lanes) add(i, lanes);
  add(i, size - i);
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace captum_proto
