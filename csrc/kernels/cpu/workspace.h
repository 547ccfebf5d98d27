// Memory that a thread keeps from one row to the next.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace captum_proto {

/// Memory that is asked for once in a while and by the megabyte: where the system has huge pages it comes in these, which takes
/// fewer faults to get and fewer entries of the TLB to use.
class LargeMemory {
 public:
  LargeMemory() = default;
  explicit LargeMemory(std::size_t bytes) : bytes_(bytes) {
    if (bytes >= kHugePage) bytes = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    const std::align_val_t alignment{bytes >= kHugePage ? kHugePage : kLine};
    memory_ = {static_cast<std::byte*>(::operator new(bytes, alignment)), Free{alignment}};
#if defined(MADV_HUGEPAGE)
    // Advice: a system that cannot follow it says so, and the memory is as good as before.
    if (bytes >= kHugePage) static_cast<void>(madvise(memory_.get(), bytes, MADV_HUGEPAGE));
#endif
  }
  std::byte* get() const { return memory_.get(); }
  std::size_t bytes() const { return bytes_; }

 private:
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;
  static constexpr std::size_t kLine = 64;

  struct Free {
    std::align_val_t alignment;
    void operator()(std::byte* memory) const { ::operator delete(memory, alignment); }
  };
  std::unique_ptr<std::byte, Free> memory_{nullptr, Free{}};
  std::size_t bytes_ = 0;
};

/// A few buffers that grow to what is asked of them. Their contents do not survive the next request for the same buffer.
class Workspace {
 public:
  enum Slot { kItems, kOtherItems, kRow, kPayloadRow, kMeanRow, kRanks, kTable, kSlots };

  /// The calling thread's own workspace.
  static Workspace& of_this_thread() {
    thread_local Workspace workspace;
    return workspace;
  }

  template <class T>
  T* get(Slot slot, std::size_t count) {
    LargeMemory& buffer = buffers_[slot];
    const std::size_t bytes = count * sizeof(T);
    if (buffer.bytes() < bytes) {
      buffer = LargeMemory();  // first give back, then ask for more
      buffer = LargeMemory(bytes);
    }
    return reinterpret_cast<T*>(buffer.get());
  }

  /// Leases of this workspace that have not ended.
  int leases = 0;

  /// Bytes that it holds.
  std::size_t bytes() const {
    std::size_t all = 0;
    for (const LargeMemory& buffer : buffers_) all += buffer.bytes();
    return all;
  }

  /// Gives back what is too large to sit on between calls.
  void trim() {
    for (LargeMemory& buffer : buffers_)
      if (buffer.bytes() > kKeep) buffer = LargeMemory();
  }

 private:
  static constexpr std::size_t kKeep = std::size_t{32} << 20;

  LargeMemory buffers_[kSlots];
};

/// Trims this thread's workspace when a range of rows is done; within another lease, when that one ends.
struct WorkspaceLease {
  Workspace& workspace = Workspace::of_this_thread();
  WorkspaceLease() { ++workspace.leases; }
  WorkspaceLease(const WorkspaceLease&) = delete;
  WorkspaceLease& operator=(const WorkspaceLease&) = delete;
  ~WorkspaceLease() {
    if (--workspace.leases == 0) workspace.trim();
  }
};

}  // namespace captum_proto
