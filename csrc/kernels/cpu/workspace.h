// Memory that a thread keeps from one row to the next.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace captum_proto {

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
    Buffer& buffer = buffers_[slot];
    const std::size_t bytes = count * sizeof(T);
    if (buffer.bytes < bytes) {
      buffer = Buffer();  // first give back, then ask for more
      buffer.memory.reset(static_cast<std::byte*>(::operator new(bytes, kAlignment)));
      buffer.bytes = bytes;
    }
    return reinterpret_cast<T*>(buffer.memory.get());
  }

  /// Gives back what is too large to sit on between calls.
  void trim() {
    for (Buffer& buffer : buffers_)
      if (buffer.bytes > kKeep) buffer = Buffer();
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  static constexpr std::size_t kKeep = std::size_t{32} << 20;

  struct Free {
    void operator()(std::byte* memory) const { ::operator delete(memory, kAlignment); }
  };
  struct Buffer {
    std::unique_ptr<std::byte, Free> memory;
    std::size_t bytes = 0;
  };
  Buffer buffers_[kSlots];
};

/// Trims this thread's workspace when a range of rows is done.
struct WorkspaceLease {
  Workspace& workspace = Workspace::of_this_thread();
  WorkspaceLease() = default;
  WorkspaceLease(const WorkspaceLease&) = delete;
  WorkspaceLease& operator=(const WorkspaceLease&) = delete;
  ~WorkspaceLease() { workspace.trim(); }
};

}  // namespace captum_proto
