// The operators on images for CUDA: high-frequency loss and affine sampling, with their gradients.
#include <torch/csrc/stable/library.h>

#include <cstdint>

#include "check_images.h"
#include "cuda/device.cuh"
#include "kernels/cuda/affine_gather.cuh"
#include "kernels/cuda/affine_sample.cuh"
#include "kernels/cuda/high_frequency_loss.cuh"
#include "tensors.h"

namespace captum_proto {
namespace {

using cuda::BFloat16;
using cuda::Half;

cuda::Layout layout_of(const Tensor& images) {
  return cuda::Layout{images.size(0),   images.size(1),   images.size(2),   images.size(3),
                      images.stride(0), images.stride(1), images.stride(2), images.stride(3)};
}

Tensor high_frequency_loss(const Tensor& images, int64_t power) {
  check_images(images, "images");
  check_power(power);
  const OnDeviceOf device(images);
  TensorScratch scratch(images);
  Tensor loss = empty({images.size(0)}, wide_dtype(images), images);
  with_floating_type<Half, BFloat16>(images, "images", [&](auto type) {
    using T = decltype(type);
    cuda::high_frequency_loss(data<T>(images), layout_of(images), static_cast<int>(power), mutable_data<cuda::Wide<T>>(loss),
                              scratch, device.stream);
  });
  return loss;
}

Tensor high_frequency_loss_backward(const Tensor& grad_output, const Tensor& images, int64_t power) {
  check_images(images, "images");
  check_power(power);
  check_loss_gradient(grad_output, images);
  require(grad_output.scalar_type() == wide_dtype(images),
          "grad_output must be float64 for float64 images and float32 for all others.");
  const OnDeviceOf device(images);
  Tensor gradient = empty_as(images);
  with_floating_type<Half, BFloat16>(images, "images", [&](auto type) {
    using T = decltype(type);
    cuda::high_frequency_loss_backward(data<cuda::Wide<T>>(grad_output), grad_output.stride(0), data<T>(images), layout_of(images),
                                       static_cast<int>(power), layout_of(gradient), mutable_data<T>(gradient), device.stream);
  });
  return gradient;
}

cuda::Matrices matrices_of(const Tensor& matrix, const Tensor& images) {
  check_matrix(matrix, images);
  const bool is_double = matrix.scalar_type() == ScalarType::Double;
  return cuda::Matrices{matrix.const_data_ptr(), is_double, matrix.stride(0), matrix.stride(1), matrix.stride(2)};
}

template <typename T>
cuda::ChannelValues<T> channel_values(const Tensor& values, const Tensor& images, const char* name) {
  check_channel_values(values, name, images);
  return cuda::ChannelValues<T>{data<T>(values), values.stride(0)};
}

Tensor affine_sample(const Tensor& images, const Tensor& matrix, const Tensor& scale, const Tensor& shift, double fill,
                     bool channels_last, int64_t border) {
  check_sampled(images, "images");
  check_border(border);
  check_sides(images, "images");
  Tensor samples;
  with_float_or_double(images, [&](auto type) {
    using T = decltype(type);
    const cuda::Matrices matrices = matrices_of(matrix, images);
    const cuda::ChannelValues<T> scales = channel_values<T>(scale, images, "scale");
    const cuda::ChannelValues<T> shifts = channel_values<T>(shift, images, "shift");
    const OnDeviceOf device(images);
    samples = empty_images(images, channels_last);
    with_border(border, [&](auto constant) {
      cuda::affine_sample<decltype(constant)::value>(data<T>(images), layout_of(images), matrices, scales, shifts, fill,
                                                     layout_of(samples), mutable_data<T>(samples), device.stream);
    });
  });
  return samples;
}

Tensor affine_sample_backward(const Tensor& grad_output, const Tensor& matrix, const Tensor& scale, bool channels_last,
                              int64_t border) {
  check_sampled(grad_output, "grad_output");
  check_border(border);
  check_sides(grad_output, "grad_output");
  Tensor gradients;
  with_float_or_double(grad_output, [&](auto type) {
    using T = decltype(type);
    const cuda::Matrices matrices = matrices_of(matrix, grad_output);
    const cuda::ChannelValues<T> scales = channel_values<T>(scale, grad_output, "scale");
    const OnDeviceOf device(grad_output);
    gradients = empty_images(grad_output, channels_last);
    with_border(border, [&](auto constant) {
      cuda::affine_sample_backward<decltype(constant)::value>(data<T>(grad_output), layout_of(grad_output), matrices, scales,
                                                              layout_of(gradients), mutable_data<T>(gradients), device.stream);
    });
  });
  return gradients;
}

}  // namespace
}  // namespace captum_proto

STABLE_TORCH_LIBRARY_IMPL(captum_proto, CUDA, library) {
  using namespace captum_proto;
  library.impl("high_frequency_loss", TORCH_BOX(&high_frequency_loss));
  library.impl("high_frequency_loss_backward", TORCH_BOX(&high_frequency_loss_backward));
  library.impl("affine_sample", TORCH_BOX(&affine_sample));
  library.impl("affine_sample_backward", TORCH_BOX(&affine_sample_backward));
}
