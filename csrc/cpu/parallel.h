// PyTorch's threads for the CPU kernels, as many as the work is worth.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/team.h"
#include "kernels/cpu/workspace.h"

namespace captum_proto {

/// Below about this many values a second thread costs more than it brings.
constexpr int64_t kValuesPerThread = 32768;
/// The same for threads that share a row, and so have to wait for one another several times.
constexpr int64_t kValuesPerWorker = 196608;

/// The same for words of bits, of which a thread does billions in a second: a second thread has to be woken, which takes
/// long where neighbors keep the cores busy.
constexpr int64_t kWordsPerThread = 1048576;

/// Pieces in which a thread's part of the work is dealt out.
///
/// Who is done takes the next one, so that a thread whose core a neighbor's process takes for a while leaves its pieces to the
/// others: with one part for each, all would wait for it.
constexpr int64_t kPiecesPerThread = 8;

/// Calls body(begin, end) for pieces of [0, count) of `size` items, on so many threads; each takes the next piece when it is done.
template <class Body>
void deal_out(int64_t count, int64_t size, int64_t threads, const Body& body) {
  std::atomic<int64_t> next{0};
  torch::stable::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    const WorkspaceLease lease;   // large buffers serve for all pieces
    for (; begin < end; ++begin)  // of a thread that stands for several, all but the first find nothing left
      for (int64_t first; (first = next.fetch_add(size, std::memory_order_relaxed)) < count;)
        body(first, std::min(first + size, count));
  });
}

/// Calls body(begin, end) for ranges of [0, count) on as many threads as `values_each` values an item are worth.
template <class Body>
void in_parallel(int64_t count, int64_t values_each, const Body& body, int64_t values_per_thread = kValuesPerThread) {
  const int64_t least = std::max<int64_t>(1, values_per_thread / std::max<int64_t>(1, values_each));
  const int64_t threads = std::min<int64_t>(torch::stable::get_num_threads(), (count + least - 1) / least);
  if (threads > 1) {
    deal_out(count, std::max<int64_t>(1, count / (threads * kPiecesPerThread)), threads, body);
  } else if (count > 0) {
    body(int64_t{0}, count);
  }
}

/// As many workers as a row of `size` values is worth: one share for each, for every further one costs a table of its own.
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
