// What kernels read and write of global memory, in bytes: as many as their threads ask for, whatever caches do about it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace on_host {

class Traffic {
 public:
  struct Bytes {
    int64_t read = 0, written = 0;
  };

  static Traffic& instance() {
    static Traffic traffic;
    return traffic;
  }

  /// Memory that is global, until it is freed.
  void allocated(const void* begin, size_t size) {
    if (size > 0) ends_[reinterpret_cast<uintptr_t>(begin)] = reinterpret_cast<uintptr_t>(begin) + size;
  }
  void freed(const void* begin) { ends_.erase(reinterpret_cast<uintptr_t>(begin)); }

  void clear() { launches_.clear(); }
  void start(const std::string& launch) { current_ = &launches_[launch]; }
  const std::map<std::string, Bytes>& launches() const { return launches_; }

  /// What the library or the runtime moves, not a kernel of ours.
  void add(const std::string& launch, int64_t read, int64_t written) {
    launches_[launch].read += read;
    launches_[launch].written += written;
  }

  /// Called before each access of a kernel's to any memory.
  void access(const volatile void* address, size_t size, bool reads, bool writes) {
    const uintptr_t place = reinterpret_cast<uintptr_t>(address);
    const auto after = ends_.upper_bound(place);
    if (after == ends_.begin() || place >= std::prev(after)->second) return;
    if (reads) current_->read += static_cast<int64_t>(size);
    if (writes) current_->written += static_cast<int64_t>(size);
  }

 private:
  std::map<uintptr_t, uintptr_t> ends_;
  std::map<std::string, Bytes> launches_;
  Bytes* current_ = nullptr;
};

}  // namespace on_host
