// PyTorch's threads for the CPU kernels, as many as the work is worth.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/team.h"

namespace captum_proto {

/// Below about this many values a second thread costs more than it brings.
constexpr int64_t kValuesPerThread = 32768;
/// The same for threads that share a row, and so have to wait for one another several times.
constexpr int64_t kValuesPerWorker = 196608;

/// The same for words of bits, of which a thread does billions in a second: a second thread has to be woken, which takes
/// long where neighbors keep the cores busy.
constexpr int64_t kWordsPerThread = 1048576;

/// Calls body(begin, end) for ranges of [0, count) on as many threads as `values_each` values an item are worth.
template <class Body>
void in_parallel(int64_t count, int64_t values_each, const Body& body, int64_t values_per_thread = kValuesPerThread) {
  torch::stable::parallel_for(0, count, std::max<int64_t>(1, values_per_thread / std::max<int64_t>(1, values_each)), body);
}

/// As many workers as a row of `size` values is worth.
inline Team team_of(int64_t size) {
  const int64_t threads = torch::stable::get_num_threads();
  return Team{static_cast<std::size_t>(std::max<int64_t>(1, std::min(threads, size / kValuesPerWorker))),
              [](std::size_t workers, const Team::Work& work) {
                torch::stable::parallel_for(0, static_cast<int64_t>(workers), 1, [&](int64_t begin, int64_t end) {
                  for (int64_t worker = begin; worker < end; ++worker) work(static_cast<std::size_t>(worker));
                });
              }};
}

}  // namespace captum_proto
