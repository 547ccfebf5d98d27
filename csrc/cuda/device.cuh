// A tensor's GPU as the CUDA kernels want it: device, stream, scratch memory.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>
#include <iomanip>
#include <sstream>
#include <string>
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
    // Asked for through the C interface, which says no with a number: torch::stable::empty would write to stderr each time that a
    // chunk is to shrink.
    const int64_t count = static_cast<int64_t>(size);
    const int64_t stride = 1;
    AtenTensorHandle handle = nullptr;
    const AOTITorchError status = aoti_torch_empty_strided(1, &count, &stride, aoti_torch_dtype_uint8(),
                                                           aoti_torch_device_type_cuda(), like_.get_device_index(), &handle);
    if (status != 0) throw cuda::OutOfMemory(out_of_memory(size));
    tensors_.emplace_back(handle);
    return tensors_.back().mutable_data_ptr();
  }
  size_t taken() const override { return tensors_.size(); }
  void give_back(size_t count) override { tensors_.resize(std::min(count, tensors_.size())); }

 private:
  std::string out_of_memory(size_t size) const {
    std::ostringstream sentence;
    sentence << std::fixed << std::setprecision(2) << kOutOfMemory << "tried to allocate " << static_cast<double>(size) / kMebibyte
             << " MiB of scratch memory on GPU " << like_.get_device_index();
    size_t free = 0, total = 0;
    // After a kernel's error every call fails, this one too: that is told then, and is no lack of memory.
    cuda::check(cudaMemGetInfo(&free, &total), "an earlier kernel, seen when scratch memory was asked for,");
    sentence << ", of whose " << static_cast<double>(total) / kMebibyte << " MiB " << static_cast<double>(free) / kMebibyte
             << " are free. Give fewer rows at a time, or free memory: torch.cuda.memory_summary() shows who holds it.";
    return sentence.str();
  }

  static constexpr double kMebibyte = 1024.0 * 1024.0;
  Tensor like_;
  std::vector<Tensor> tensors_;
};

}  // namespace captum_proto
