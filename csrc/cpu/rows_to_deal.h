// Rows that threads take one by one, and a few at the end that all of them may rank together.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

namespace captum_proto {

/// Deals out all rows but the last `left`, which are fewer than the threads.
///
/// Ranked together, the last rows keep all threads busy; but together is as slow as the slowest, and a thread whose core a
/// neighbor's process has taken is late by whole slices of the scheduler's time. So who is done waits for the others for a fraction
/// of what a row takes, and then goes on with one of the last rows alone.
class RowsToDeal {
 public:
  RowsToDeal(std::int64_t rows, std::int64_t left) : rows_(rows), dealt_(rows - left), next_left_(rows - left) {}

  /// Calls rank(row) for row after row, on the thread that calls this. Returns when there is no row to be taken, or when all rows
  /// but the last are done.
  template <class Rank>
  void take_part(const Rank& rank) {
    const auto start = Clock::now();
    std::int64_t own = 0;
    for (std::int64_t row; (row = next_.fetch_add(1, std::memory_order_relaxed)) < dealt_; ++own) {
      rank(row);
      done_.fetch_add(1, std::memory_order_release);
    }
    if (own == 0) return;  // too late itself to know how long a row takes
    const auto last_moment = Clock::now() + (Clock::now() - start) / (own * kPatience);
    while (done_.load(std::memory_order_acquire) < dealt_) {
      if (Clock::now() < last_moment) {
        std::this_thread::yield();
      } else if (const std::int64_t row = next_left_.fetch_add(1, std::memory_order_relaxed); row < rows_) {
        rank(row);
      } else {
        return;
      }
    }
  }

  /// The first row that no thread has taken alone.
  std::int64_t first_left() const { return std::min(rows_, next_left_.load(std::memory_order_relaxed)); }

 private:
  using Clock = std::chrono::steady_clock;
  /// Threads that keep up differ by a few percent of a row; who waits longer than an eighth waits for a neighbor.
  static constexpr int kPatience = 8;

  const std::int64_t rows_, dealt_;
  std::atomic<std::int64_t> next_{0}, done_{0}, next_left_;
};

}  // namespace captum_proto
