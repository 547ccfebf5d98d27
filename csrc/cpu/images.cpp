// The operators on images for the CPU: high-frequency loss and affine sampling, with their gradients.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "check_images.h"
#include "cpu/parallel.h"
#include "kernels/cpu/affine_sample.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/high_frequency_loss.h"
#include "tensors.h"

namespace captum_proto {
namespace {

ImageShape shape_of(const Tensor& images) { return {images.size(0), images.size(1), images.size(2), images.size(3)}; }
ImageStrides strides_of(const Tensor& images) { return {images.stride(0), images.stride(1), images.stride(2), images.stride(3)}; }

Tensor high_frequency_loss(const Tensor& images, int64_t power) {
  check_images(images, "images");
  check_power(power);
  const ImageShape shape = shape_of(images);
  Tensor loss;
  with_floating_type<Half, BFloat16>(images, "images", [&](auto type) {
    using T = decltype(type);
    loss = empty({shape.n}, wide_dtype(images), images);
    const ImageStrides strides = strides_of(images);
    const Images<const T> view(data<T>(images), shape, strides, strides.interleaves_channels(shape));
    const int64_t units = view.lines.units();
    std::vector<UnitSums> sums(static_cast<std::size_t>(shape.n * units));
    in_parallel(shape.n * units, view.lines.length * view.lines.lines_per_unit(), [&](int64_t begin, int64_t end) {
      if (power == 1) {
        run<&high_frequency_units<T, 1>>(view, begin, end, sums.data());
      } else {
        run<&high_frequency_units<T, 2>>(view, begin, end, sums.data());
      }
    });
    const auto out = mutable_data<Wide<T>>(loss);
    for (int64_t i = 0; i < shape.n; ++i) out[i] = high_frequency_loss_of_image<Wide<T>>(shape, sums.data() + i * units, units);
  });
  return loss;
}

Tensor high_frequency_loss_backward(const Tensor& grad_output, const Tensor& images, int64_t power) {
  check_images(images, "images");
  check_power(power);
  check_loss_gradient(grad_output, images);
  const ImageShape shape = shape_of(images);
  Tensor gradients = empty_as(images);
  with_floating_type<Half, BFloat16>(images, "images", [&](auto type) {
    using T = decltype(type);
    // The loss is in Wide<T>, and so is its gradient, unless someone calls the operator directly.
    std::vector<Wide<T>> scale(static_cast<std::size_t>(shape.n));
    with_floating_type<Half, BFloat16>(grad_output, "grad_output", [&](auto scale_type) {
      const auto values = data<decltype(scale_type)>(grad_output);
      for (int64_t i = 0; i < shape.n; ++i) scale[i] = static_cast<Wide<T>>(widen(values[i * grad_output.stride(0)]));
    });
    const ImageStrides strides = strides_of(images), out_strides = strides_of(gradients);
    const bool interleaved = strides.interleaves_channels(shape) && out_strides.interleaves_channels(shape);
    const Images<const T> view(data<T>(images), shape, strides, interleaved);
    const Images<T> out(mutable_data<T>(gradients), shape, out_strides, interleaved);
    in_parallel(shape.n * view.lines.units(), view.lines.length * view.lines.lines_per_unit(), [&](int64_t begin, int64_t end) {
      if (power == 1) {
        run<&high_frequency_gradient_units<T, 1>>(view, out, scale.data(), begin, end);
      } else {
        run<&high_frequency_gradient_units<T, 2>>(view, out, scale.data(), begin, end);
      }
    });
  });
  return gradients;
}

/// One value for each channel, in the images' dtype.
template <class T>
std::vector<T> channel_values(const Tensor& values, const Tensor& images, const char* name) {
  check_channel_values(values, name, images);
  std::vector<T> copy(static_cast<std::size_t>(values.size(0)));
  for (int64_t c = 0; c < values.size(0); ++c) copy[c] = data<T>(values)[c * values.stride(0)];
  return copy;
}

std::vector<AffineMap> affine_maps(const Tensor& matrix, const Tensor& images) {
  check_matrix(matrix, images);
  const bool is_double = matrix.scalar_type() == ScalarType::Double;
  std::vector<AffineMap> maps;
  for (int64_t i = 0; i < matrix.size(0); ++i) {
    double values[6];
    for (int64_t k = 0; k < 6; ++k) {
      const int64_t place = i * matrix.stride(0) + k / 3 * matrix.stride(1) + k % 3 * matrix.stride(2);
      values[k] = is_double ? data<double>(matrix)[place] : static_cast<double>(data<float>(matrix)[place]);
    }
    maps.emplace_back(values, images.size(2), images.size(3));
  }
  return maps;
}

/// As many bands as keep all threads busy where there are few images.
int64_t bands_for(int64_t planes, int64_t height) {
  const int64_t threads = torch::stable::get_num_threads();
  int64_t bands = 1;
  while (bands < threads && planes * bands % threads != 0 && planes * bands < 4 * threads) ++bands;
  return std::min(bands, std::max<int64_t>(1, height));
}

Tensor affine_sample(const Tensor& images, const Tensor& matrix, const Tensor& scale, const Tensor& shift, double fill,
                     bool channels_last, int64_t border) {
  check_sampled(images, "images");
  check_border(border);
  check_pixels(images, "images");
  Tensor samples;
  with_float_or_double(images, [&](auto type) {
    using T = decltype(type);
    samples = empty_images(images, channels_last);
    const std::vector<AffineMap> maps = affine_maps(matrix, images);
    const std::vector<T> scales = channel_values<T>(scale, images, "scale"), shifts = channel_values<T>(shift, images, "shift");
    if (samples.numel() == 0) return;
    AffineSampling<T> call{shape_of(images),     maps.data(),
                           scales.data(),        shifts.data(),
                           static_cast<T>(fill), data<T>(images),
                           strides_of(images),   mutable_data<T>(samples),
                           strides_of(samples),  1};
    call.bands = bands_for(call.units(), call.shape.h);
    with_border(border, [&](auto constant) {
      constexpr Border kBorder = decltype(constant)::value;
      in_parallel(call.units(), images.numel() / call.units(),
                  [&](int64_t begin, int64_t end) { run<&affine_sample_units<kBorder, T>>(call, begin, end); });
    });
  });
  return samples;
}

Tensor affine_sample_backward(const Tensor& grad_output, const Tensor& matrix, const Tensor& scale, bool channels_last,
                              int64_t border) {
  check_sampled(grad_output, "grad_output");
  check_border(border);
  check_pixels(grad_output, "grad_output");
  Tensor gradients;
  with_float_or_double(grad_output, [&](auto type) {
    using T = decltype(type);
    gradients = empty_images(grad_output, channels_last);
    const std::vector<AffineMap> maps = affine_maps(matrix, grad_output);
    const std::vector<T> scales = channel_values<T>(scale, grad_output, "scale");
    if (gradients.numel() == 0) return;
    AffineSampling<T> call{shape_of(grad_output),
                           maps.data(),
                           scales.data(),
                           nullptr,
                           T(0),
                           data<T>(grad_output),
                           strides_of(grad_output),
                           mutable_data<T>(gradients),
                           strides_of(gradients),
                           1};
    call.bands = bands_for(call.units(), call.shape.h);
    with_border(border, [&](auto constant) {
      constexpr Border kBorder = decltype(constant)::value;
      in_parallel(call.units(), grad_output.numel() / call.units(),
                  [&](int64_t begin, int64_t end) { run<&affine_sample_gradient_units<kBorder, T>>(call, begin, end); });
    });
  });
  return gradients;
}

}  // namespace
}  // namespace captum_proto

STABLE_TORCH_LIBRARY_IMPL(captum_proto, CPU, library) {
  using namespace captum_proto;
  library.impl("high_frequency_loss", TORCH_BOX(&high_frequency_loss));
  library.impl("high_frequency_loss_backward", TORCH_BOX(&high_frequency_loss_backward));
  library.impl("affine_sample", TORCH_BOX(&affine_sample));
  library.impl("affine_sample_backward", TORCH_BOX(&affine_sample_backward));
}
