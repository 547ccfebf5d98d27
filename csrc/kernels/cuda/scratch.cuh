// Where device memory comes from: the caller's allocator.
#pragma once

#include <algorithm>
#include <stdexcept>

#include "platform.cuh"

namespace captum_proto::cuda {

/// Device memory that is not to be had. Python makes torch.OutOfMemoryError of it, told by how its sentence begins.
class OutOfMemory : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Device memory that lives until the operator's last kernel has run, or is given back before.
class Scratch {
 public:
  virtual ~Scratch() = default;

  template <typename T>
  T* allocate(int64_t count) {
    return static_cast<T*>(bytes(static_cast<size_t>(count) * sizeof(T)));
  }

  /// Throws OutOfMemory where there are not so many.
  virtual void* bytes(size_t size) = 0;

  /// How many pieces of memory are taken.
  virtual size_t taken() const = 0;

  /// Gives back what was taken since `taken()` was `count`. Kernels that are queued may still use it: who gets it next on this
  /// stream comes after them.
  virtual void give_back(size_t count) = 0;
};

/// Works through rows in chunks of at most `chunk_rows`: begin(rows of a chunk) takes the memory for one, task(state, first, rows)
/// queues the work. Where memory runs out the chunk is halved and tried again, down to single rows; then OutOfMemory goes to the
/// caller.
///
/// A task must take all of its memory before it changes anything that a second try would not make good: it is then called again for
/// the same rows.
template <class Begin, class Task>
void for_chunks(int64_t rows, int64_t chunk_rows, Scratch& scratch, const Begin& begin, const Task& task) {
  const size_t before = scratch.taken();
  int64_t first = 0;
  while (first < rows) {
    try {
      auto state = begin(chunk_rows);
      for (; first < rows; first += chunk_rows) task(state, first, std::min(chunk_rows, rows - first));
    } catch (const OutOfMemory&) {
      scratch.give_back(before);
      if (chunk_rows == 1) throw;
      chunk_rows = ceil_div(std::min(chunk_rows, rows - first), 2);
    }
  }
  scratch.give_back(before);
}

}  // namespace captum_proto::cuda
