// Several workers at one task.
#pragma once

#include <cstddef>
#include <functional>

namespace captum_proto {

/// Workers that may run at the same time. Kernels know nothing of threads, so who has some says how.
struct Team {
  using Work = std::function<void(std::size_t worker)>;

  /// The calling thread by itself.
  static Team of_one() {
    return Team{1, [](std::size_t, const Work& work) { work(0); }};
  }

  std::size_t workers;
  void (*run_all)(std::size_t workers, const Work& work);  // work(0) to work(workers - 1), in any order; returns when all are done

  void each(const Work& work) const { run_all(workers, work); }

  /// Calls work(worker, begin, end) with every worker's share of [0, size).
  template <class WorkOnShare>
  void share(std::size_t size, const WorkOnShare& work) const {
    each([&](std::size_t worker) { work(worker, size * worker / workers, size * (worker + 1) / workers); });
  }
};

}  // namespace captum_proto
