// L1 distance between two rows.
#pragma once

#include <cmath>
#include <cstddef>

#include "dispatch.h"
#include "float_values.h"
#include "team.h"

namespace captum_proto {

/// Value i of a row is added to sum i mod 16, and then these sums are added in order: an order that depends on the length alone.
constexpr std::size_t kL1Lanes = 16;

/// The sums of |x - mean| in double for `lanes` lanes from the first on.
template <class T, class Mean, std::size_t lanes>
void l1_of_lanes(const T* x, const Mean* mean, std::size_t size, std::size_t first_lane, double* sums_out) {
  double sums[lanes] = {};
  const auto add = [&](std::size_t first, std::size_t count) {
    double values[lanes];  // in two loops, as compilers vectorize neither conversions within sums nor sums within conversions
    for (std::size_t lane = 0; lane < count; ++lane) values[lane] = static_cast<double>(widen(x[first + lane]));
    for (std::size_t lane = 0; lane < count; ++lane)
      sums[lane] += std::fabs(values[lane] - static_cast<double>(mean[first + lane]));
  };
  std::size_t i = first_lane;
  for (; i + lanes <= size; i += kL1Lanes) add(i, lanes);
  if (i < size) add(i, size - i);
  for (std::size_t lane = 0; lane < lanes; ++lane) sums_out[lane] = sums[lane];
}

inline double l1_of_sums(const double* sums) {
  double total = 0;
  for (std::size_t lane = 0; lane < kL1Lanes; ++lane) total += sums[lane];
  return total;
}

template <class T, class Mean>
double l1_row(const T* x, const Mean* mean, std::size_t size) {
  double sums[kL1Lanes];
  l1_of_lanes<T, Mean, kL1Lanes>(x, mean, size, 0, sums);
  return l1_of_sums(sums);
}

/// As l1_row(), by several workers: each lane's sum is one worker's throughout.
template <class T, class Mean>
double l1_row_together(const T* x, const Mean* mean, std::size_t size, const Team& team) {
  constexpr std::size_t kLanesOfWorker = 8;  // fewer would have every worker read most of the row's cache lines for little
  double sums[kL1Lanes];
  Team{kL1Lanes / kLanesOfWorker, team.run_all}.each([&](std::size_t worker) {
    run<&l1_of_lanes<T, Mean, kLanesOfWorker>>(x, mean, size, worker * kLanesOfWorker, sums + worker * kLanesOfWorker);
  });
  return l1_of_sums(sums);
}

}  // namespace captum_proto
