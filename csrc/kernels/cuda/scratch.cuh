// Where device memory comes from: the caller's allocator.
#pragma once

#include "platform.cuh"

namespace captum_proto::cuda {

/// Device memory that lives until the operator's last kernel has run.
class Scratch {
 public:
  virtual ~Scratch() = default;

  template <typename T>
  T* allocate(int64_t count) {
    return static_cast<T*>(bytes(static_cast<size_t>(count) * sizeof(T)));
  }

  virtual void* bytes(size_t size) = 0;
};

}  // namespace captum_proto::cuda
