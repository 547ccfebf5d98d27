// The operators' CUDA implementations: tensors in, pointers and strides to the kernels, tensors out.
//
// Built through PyTorch's stable ABI, so one build serves every later PyTorch of the same CUDA major version.

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/MemoryFormat.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/cuda/affine_sample.cuh"
#include "kernels/cuda/high_frequency_loss.cuh"
#include "kernels/cuda/path_distance.cuh"

namespace captum_proto {
namespace {

using cuda::BFloat16;
using cuda::Half;
using cuda::Plan;
using cuda::Rows;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kLongestRow = int64_t{1} << 28;

void require(bool holds, const std::string& sentence) {
  if (!holds) throw std::runtime_error("captum_proto: " + sentence);
}

std::string shape_of(const Tensor& tensor) {
  std::string text = "(";
  for (int64_t i = 0; i < tensor.dim(); ++i) text += (i > 0 ? ", " : "") + std::to_string(tensor.size(i));
  return text + ")";
}

/// Makes a tensor's device the current one, and finds the stream on which its work is queued.
class OnDeviceOf {
 public:
  explicit OnDeviceOf(const Tensor& tensor) : guard_(tensor.get_device_index()) {
    void* current = nullptr;
    if (aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &current) != 0) {
      throw std::runtime_error("captum_proto: PyTorch did not say which CUDA stream is current.");
    }
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

Tensor empty(const Tensor& like, const std::vector<int64_t>& shape, ScalarType type) {
  return torch::stable::new_empty(like, shape, type);
}

template <typename T>
struct Type {
  using type = T;
};

/// Calls `function` with the kernels' type for a tensor of floating-point numbers.
template <class Function>
void for_floating(const Tensor& tensor, const char* name, const Function& function) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float:
      return function(Type<float>{});
    case ScalarType::Double:
      return function(Type<double>{});
    case ScalarType::Half:
      return function(Type<Half>{});
    case ScalarType::BFloat16:
      return function(Type<BFloat16>{});
    default:
      throw std::runtime_error(std::string("captum_proto: ") + name +
                               " must be float16, bfloat16, float32 or float64; convert it with .to(torch.float32).");
  }
}

/// x (N, D), and whether it can be ranked.
void require_rows(const Tensor& x) {
  require(x.dim() == 2, "x must have the shape (rows, values), got " + shape_of(x) + ".");
  require(x.size(1) <= kLongestRow,
          "a row can have at most 2**28 values, got " + std::to_string(x.size(1)) + "; split it, or compare a sample of it.");
}

/// `other` must be (D,) or (N, D) on the device of x (N, D).
void require_beside(const Tensor& x, const Tensor& other, const char* name) {
  const int64_t dim = other.dim();
  const bool fits =
      (dim == 1 && other.size(0) == x.size(1)) || (dim == 2 && other.size(0) == x.size(0) && other.size(1) == x.size(1));
  require(fits, std::string(name) + " must have the shape (values,) or (rows, values) of x, " + shape_of(x) + ", got " +
                    shape_of(other) + ".");
  require(other.is_cuda() && other.get_device_index() == x.get_device_index(), std::string(name) + " must be on the device of x.");
}

template <typename T>
Rows<T> rows_of(const Tensor& tensor) {
  const T* data = static_cast<const T*>(tensor.const_data_ptr());
  return tensor.dim() == 1 ? Rows<T>{data, 0, tensor.stride(0)} : Rows<T>{data, tensor.stride(0), tensor.stride(1)};
}

Tensor doubled_rank(Tensor x) {
  require_rows(x);
  const OnDeviceOf device(x);
  TensorScratch scratch(x);
  Tensor ranks = empty(x, {x.size(0), x.size(1)}, ScalarType::Int);
  for_floating(x, "x", [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::doubled_rank(rows_of<T>(x), x.size(0), static_cast<int>(x.size(1)), static_cast<int32_t*>(ranks.mutable_data_ptr()),
                       Plan{}, scratch, device.stream);
  });
  return ranks;
}

Tensor rank(Tensor x) {
  require_rows(x);
  const OnDeviceOf device(x);
  TensorScratch scratch(x);
  Tensor ranks = empty(x, {x.size(0), x.size(1)}, ScalarType::Double);
  for_floating(x, "x", [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::rank(rows_of<T>(x), x.size(0), static_cast<int>(x.size(1)), static_cast<double*>(ranks.mutable_data_ptr()), Plan{},
               scratch, device.stream);
  });
  return ranks;
}

Tensor spearman(Tensor x, Tensor doubled_ranks) {
  require_rows(x);
  require_beside(x, doubled_ranks, "doubled_ranks");
  require(doubled_ranks.scalar_type() == ScalarType::Int, "doubled_ranks must be int32, as ops.SpearmanReference makes them.");
  const OnDeviceOf device(x);
  TensorScratch scratch(x);
  Tensor result = empty(x, {x.size(0)}, ScalarType::Double);
  const Rows<int32_t> reference = rows_of<int32_t>(doubled_ranks);
  const int64_t reference_rows = reference.row_stride == 0 ? 1 : x.size(0);
  for_floating(x, "x", [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::spearman(rows_of<T>(x), reference, reference_rows, x.size(0), static_cast<int>(x.size(1)),
                   static_cast<double*>(result.mutable_data_ptr()), Plan{}, scratch, device.stream);
  });
  return result;
}

std::tuple<Tensor, Tensor> path_distance(Tensor x, Tensor mean, Tensor doubled_ranks) {
  Tensor correlation = spearman(x, doubled_ranks);
  require_beside(x, mean, "mean");
  const bool mean_is_float = mean.scalar_type() == ScalarType::Float;
  require(mean_is_float || mean.scalar_type() == ScalarType::Double, "mean must be float32 or float64.");
  const OnDeviceOf device(x);
  TensorScratch scratch(x);
  Tensor distance = empty(x, {x.size(0)}, ScalarType::Double);
  double* result = static_cast<double*>(distance.mutable_data_ptr());
  for_floating(x, "x", [&](auto type) {
    using T = typename decltype(type)::type;
    if (mean_is_float) {
      cuda::l1_distance(rows_of<T>(x), rows_of<float>(mean), x.size(0), x.size(1), result, scratch, device.stream);
    } else {
      cuda::l1_distance(rows_of<T>(x), rows_of<double>(mean), x.size(0), x.size(1), result, scratch, device.stream);
    }
  });
  return {correlation, distance};
}

cuda::Layout layout_of(const Tensor& images) {
  return cuda::Layout{images.size(0),   images.size(1),   images.size(2),   images.size(3),
                      images.stride(0), images.stride(1), images.stride(2), images.stride(3)};
}

void require_images(const Tensor& images, int64_t power) {
  require(images.dim() == 4, "images must have the shape (images, channels, height, width), got " + shape_of(images) + ".");
  require(power == 1 || power == 2, "power must be 1 or 2, got " + std::to_string(power) + ".");
}

ScalarType loss_type(const Tensor& images) {
  return images.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

Tensor high_frequency_loss(Tensor images, int64_t power) {
  require_images(images, power);
  const OnDeviceOf device(images);
  TensorScratch scratch(images);
  Tensor loss = empty(images, {images.size(0)}, loss_type(images));
  for_floating(images, "images", [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::high_frequency_loss(static_cast<const T*>(images.const_data_ptr()), layout_of(images), static_cast<int>(power),
                              static_cast<cuda::Wide<T>*>(loss.mutable_data_ptr()), scratch, device.stream);
  });
  return loss;
}

Tensor high_frequency_loss_backward(Tensor grad_output, Tensor images, int64_t power) {
  require_images(images, power);
  require(grad_output.dim() == 1 && grad_output.size(0) == images.size(0),
          "grad_output must have one value per image, got " + shape_of(grad_output) + " for images of " + shape_of(images) + ".");
  require(grad_output.scalar_type() == loss_type(images),
          "grad_output must be float64 for float64 images and float32 for all others.");
  require(grad_output.is_cuda() && grad_output.get_device_index() == images.get_device_index(),
          "grad_output must be on the device of images.");
  const OnDeviceOf device(images);
  Tensor gradient = torch::stable::empty_like(images);
  for_floating(images, "images", [&](auto type) {
    using T = typename decltype(type)::type;
    cuda::high_frequency_loss_backward(static_cast<const cuda::Wide<T>*>(grad_output.const_data_ptr()), grad_output.stride(0),
                                       static_cast<const T*>(images.const_data_ptr()), layout_of(images), static_cast<int>(power),
                                       layout_of(gradient), static_cast<T*>(gradient.mutable_data_ptr()), device.stream);
  });
  return gradient;
}

/// Uninitialised, of these sizes and in one of two memory formats.
Tensor empty_images(const Tensor& like, bool channels_last) {
  const std::vector<int64_t> sizes{like.size(0), like.size(1), like.size(2), like.size(3)};
  const auto format = channels_last ? torch::headeronly::MemoryFormat::ChannelsLast : torch::headeronly::MemoryFormat::Contiguous;
  return torch::stable::empty(sizes, like.scalar_type(), std::nullopt, like.device(), std::nullopt, format);
}

/// Calls `function` with the type of images that can be sampled.
template <class Function>
void for_images(const Tensor& images, const char* name, const Function& function) {
  require(images.dim() == 4,
          std::string(name) + " must have the shape (images, channels, height, width), got " + shape_of(images) + ".");
  require(images.size(2) < (int64_t{1} << 30) && images.size(3) < (int64_t{1} << 30),
          std::string(name) + " must have sides of fewer than 2**30 pixels, got " + shape_of(images) + ".");
  const bool is_double = images.scalar_type() == ScalarType::Double;
  require(is_double || images.scalar_type() == ScalarType::Float, std::string(name) + " must be float32 or float64.");
  return is_double ? function(Type<double>{}) : function(Type<float>{});
}

void require_on_device_of(const Tensor& images, const Tensor& other, const char* name) {
  require(other.is_cuda() && other.get_device_index() == images.get_device_index(),
          std::string(name) + " must be on the device of the images.");
}

cuda::Matrices matrices_of(const Tensor& matrix, const Tensor& images) {
  require(matrix.dim() == 3 && matrix.size(0) == images.size(0) && matrix.size(1) == 2 && matrix.size(2) == 3,
          "matrix must have the shape (images, 2, 3), got " + shape_of(matrix) + " for images of " + shape_of(images) + ".");
  const bool is_double = matrix.scalar_type() == ScalarType::Double;
  require(is_double || matrix.scalar_type() == ScalarType::Float, "matrix must be float32 or float64.");
  require_on_device_of(images, matrix, "matrix");
  return cuda::Matrices{matrix.const_data_ptr(), is_double, matrix.stride(0), matrix.stride(1), matrix.stride(2)};
}

template <typename T>
cuda::ChannelValues<T> channel_values(const Tensor& values, const Tensor& images, const char* name) {
  require(values.dim() == 1 && values.size(0) == images.size(1) && values.scalar_type() == images.scalar_type(),
          std::string(name) + " must have one value per channel, in the dtype of the images, got " + shape_of(values) + ".");
  require_on_device_of(images, values, name);
  return cuda::ChannelValues<T>{static_cast<const T*>(values.const_data_ptr()), values.stride(0)};
}

Tensor affine_sample(Tensor images, Tensor matrix, Tensor scale, Tensor shift, double fill, bool channels_last) {
  Tensor samples;
  for_images(images, "images", [&](auto type) {
    using T = typename decltype(type)::type;
    const cuda::Matrices matrices = matrices_of(matrix, images);
    const cuda::ChannelValues<T> scales = channel_values<T>(scale, images, "scale");
    const cuda::ChannelValues<T> shifts = channel_values<T>(shift, images, "shift");
    const OnDeviceOf device(images);
    samples = empty_images(images, channels_last);
    cuda::affine_sample(static_cast<const T*>(images.const_data_ptr()), layout_of(images), matrices, scales, shifts, fill,
                        layout_of(samples), static_cast<T*>(samples.mutable_data_ptr()), device.stream);
  });
  return samples;
}

Tensor affine_sample_backward(Tensor grad_output, Tensor matrix, Tensor scale, bool channels_last) {
  Tensor gradients;
  for_images(grad_output, "grad_output", [&](auto type) {
    using T = typename decltype(type)::type;
    const cuda::Matrices matrices = matrices_of(matrix, grad_output);
    const cuda::ChannelValues<T> scales = channel_values<T>(scale, grad_output, "scale");
    const OnDeviceOf device(grad_output);
    gradients = empty_images(grad_output, channels_last);
    cuda::affine_sample_backward(static_cast<const T*>(grad_output.const_data_ptr()), layout_of(grad_output), matrices, scales,
                                 layout_of(gradients), static_cast<T*>(gradients.mutable_data_ptr()), device.stream);
  });
  return gradients;
}

}  // namespace
}  // namespace captum_proto

STABLE_TORCH_LIBRARY_IMPL(captum_proto, CUDA, m) {
  m.impl("high_frequency_loss", TORCH_BOX(&captum_proto::high_frequency_loss));
  m.impl("high_frequency_loss_backward", TORCH_BOX(&captum_proto::high_frequency_loss_backward));
  m.impl("affine_sample", TORCH_BOX(&captum_proto::affine_sample));
  m.impl("affine_sample_backward", TORCH_BOX(&captum_proto::affine_sample_backward));
  m.impl("doubled_rank", TORCH_BOX(&captum_proto::doubled_rank));
  m.impl("rank", TORCH_BOX(&captum_proto::rank));
  m.impl("spearman", TORCH_BOX(&captum_proto::spearman));
  m.impl("path_distance", TORCH_BOX(&captum_proto::path_distance));
}
