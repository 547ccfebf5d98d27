// A tensor's GPU as the CUDA kernels want it: device, stream, scratch memory.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>

#include <cstdint>
#include <vector>

#include "kernels/cuda/scratch.cuh"
#include "tensors.h"

namespace captum_proto {

/// Makes a tensor's device the current one, and finds the stream on which its work is queued.
class OnDeviceOf {
 public:
  explicit OnDeviceOf(const Tensor& tensor) : guard_(tensor.get_device_index()) {
    void* current = nullptr;
    const bool known = aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &current) == 0;
    require(known, "PyTorch did not say which CUDA stream is current.");
    stream = static_cast<cudaStream_t>(current);
  }

  cudaStream_t stream;

 private:
  torch::stable::accelerator::DeviceGuard guard_;
};

/// Scratch memory from PyTorch's caching allocator. It may be freed while kernels still run: the allocator hands it out again to
/// the same stream only, after them.
class TensorScratch : public cuda::Scratch {
 public:
  explicit TensorScratch(const Tensor& like) : like_(like) {}

  void* bytes(size_t size) override {
    const std::vector<int64_t> shape{static_cast<int64_t>(size)};
    tensors_.push_back(torch::stable::new_empty(like_, shape, ScalarType::Byte));
    return tensors_.back().mutable_data_ptr();
  }

 private:
  Tensor like_;
  std::vector<Tensor> tensors_;
};

}  // namespace captum_proto
