// Rows that are dealt out to threads: each is ranked once, and a thread that is late does not keep the others waiting.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

#include "cpu/rows_to_deal.h"

namespace captum_proto::dealing {

constexpr std::int64_t kRows = 7, kLeft = 1;

/// Waits until something holds; false if it does not within ten seconds.
template <class Holds>
bool wait_for(const Holds& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!holds())
    if (std::chrono::steady_clock::now() > end) return false;
  return true;
}

/// A thread whose first row takes until the last row is ranked: the others have to rank that one without it.
template <class Expect>
void check_late_thread(Expect expect) {
  RowsToDeal dealt(kRows, kLeft);
  std::atomic<int> ranked[kRows] = {};
  std::atomic<bool> in_time{true}, begun{false};
  std::thread late([&] {
    dealt.take_part([&](std::int64_t row) {
      begun = true;
      if (!wait_for([&] { return ranked[kRows - 1] > 0; })) in_time = false;
      ++ranked[row];
    });
  });
  wait_for([&] { return begun.load(); });
  dealt.take_part([&](std::int64_t row) { ++ranked[row]; });
  late.join();
  expect(in_time, "the last row waits for a thread that is late");
  expect(dealt.first_left() == kRows, "a row that was ranked alone is left for all");
  for (const std::atomic<int>& times : ranked) expect(times == 1, "beside a late thread a row is not ranked once");
}

/// A thread that has nobody to wait for: the last rows are left for all threads.
template <class Expect>
void check_threads_in_time(Expect expect) {
  RowsToDeal dealt(kRows, kLeft);
  std::vector<std::int64_t> ranked;
  for (int thread = 0; thread < 2; ++thread) dealt.take_part([&](std::int64_t row) { ranked.push_back(row); });
  expect(ranked == std::vector<std::int64_t>({0, 1, 2, 3, 4, 5}), "not all rows but the last are dealt out");
  expect(dealt.first_left() == kRows - kLeft, "the last row is not left for all");
}

/// As many threads as come, with rows left or without: none is ranked twice or forgotten.
template <class Expect>
void check_many_threads(Expect expect) {
  for (std::int64_t left = 0; left < 4; ++left) {
    RowsToDeal dealt(64 + left, left);
    std::atomic<int> ranked[64 + 4] = {};
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread)
      threads.emplace_back([&] { dealt.take_part([&](std::int64_t row) { ++ranked[row]; }); });
    for (std::thread& thread : threads) thread.join();
    expect(dealt.first_left() >= 64 && dealt.first_left() <= 64 + left, "the first row left is not one of the last");
    for (std::int64_t row = dealt.first_left(); row < 64 + left; ++row) ++ranked[row];
    for (std::int64_t row = 0; row < 64 + left; ++row) expect(ranked[row] == 1, "a row that is dealt out is not ranked once");
  }
}

/// A thread that fails: the others do not wait for its rows for ever.
template <class Expect>
void check_failing_thread(Expect expect) {
  RowsToDeal dealt(kRows, kLeft);
  try {
    dealt.take_part([](std::int64_t) { throw std::runtime_error("no memory"); });
    expect(false, "what a row throws is lost");
  } catch (const std::runtime_error&) {
  }
  int ranked = 0;
  dealt.take_part([&](std::int64_t) { ++ranked; });
  expect(ranked == kRows - 1, "beside a thread that fails not all other rows are ranked");
}

template <class Expect>
void check_dealing(Expect expect) {
  check_late_thread(expect);
  check_threads_in_time(expect);
  check_many_threads(expect);
  check_failing_thread(expect);
}

}  // namespace captum_proto::dealing
