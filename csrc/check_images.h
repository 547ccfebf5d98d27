// What the operators on images expect of their arguments, on every device.
#pragma once

#include <type_traits>

#include "kernels/border.h"
#include "kernels/limits.h"
#include "tensors.h"

namespace captum_proto {

inline void check_images(const Tensor& images, const char* name) {
  require(images.dim() == 4, name, " has the shape ", ShapeOf{images}, "; expected (N, C, H, W).");
}

// ---- high_frequency_loss ----

inline void check_power(int64_t power) {
  require(power == 1 || power == 2, "power is ", power, "; expected 1 (absolute) or 2 (squared differences).");
}

/// The dtype in which differences between pixels are taken and returned.
inline ScalarType wide_dtype(const Tensor& images) {
  return images.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

/// The gradient by the loss: one value for each image.
inline void check_loss_gradient(const Tensor& grad_output, const Tensor& images) {
  require(grad_output.dim() == 1 && grad_output.size(0) == images.size(0), "grad_output has the shape ", ShapeOf{grad_output},
          "; expected one value for each of the ", images.size(0), " images.");
  check_same_device(grad_output, "grad_output", images, "images");
}

// ---- affine_sample ----

/// Images that can be sampled; their size is limited by what each device counts in 32 bits.
inline void check_sampled(const Tensor& images, const char* name) {
  check_images(images, name);
  require(is_float_or_double(images), name, " must be float32 or float64.");
}

inline void check_border(int64_t border) {
  require(border >= 0 && border < kBorders, "border is ", border, "; expected 0 (constant), 1 (reflect) or 2 (replicate).");
}

/// Calls `function` with the border as a constant.
template <class Function>
void with_border(int64_t border, const Function& function) {
  if (border == 1) return function(std::integral_constant<Border, Border::kReflect>{});
  if (border == 2) return function(std::integral_constant<Border, Border::kReplicate>{});
  function(std::integral_constant<Border, Border::kConstant>{});
}

/// For kernels that number the pixels of a plane, its rim included.
inline void check_pixels(const Tensor& images, const char* name) {
  const int64_t height = images.size(2), width = images.size(3);
  require(height < kMostPixels && width < kMostPixels && (height + 2) * (width + 2) < kMostPixels, name, " has images of ", height,
          " x ", width, " pixels; with a rim of one pixel, fewer than ", kMostPixels, " can be sampled.");
}

/// For kernels that count the pixels of a side.
inline void check_sides(const Tensor& images, const char* name) {
  const int64_t height = images.size(2), width = images.size(3);
  require(height < kLongestSide && width < kLongestSide, name, " has images of ", height, " x ", width,
          " pixels; sides of fewer than ", kLongestSide, " can be sampled.");
}

inline void check_matrix(const Tensor& matrix, const Tensor& images) {
  require(matrix.dim() == 3 && matrix.size(0) == images.size(0) && matrix.size(1) == 2 && matrix.size(2) == 3,
          "matrix has the shape ", ShapeOf{matrix}, "; expected (", images.size(0), ", 2, 3), one for each image.");
  require(is_float_or_double(matrix), "matrix must be float32 or float64.");
  check_same_device(matrix, "matrix", images, "the images");
}

/// Scales and shifts.
inline void check_channel_values(const Tensor& values, const char* name, const Tensor& images) {
  require(values.dim() == 1 && values.size(0) == images.size(1), name, " has the shape ", ShapeOf{values},
          "; expected one value for each of the ", images.size(1), " channels.");
  require(values.scalar_type() == images.scalar_type(), name, " must have the dtype of the images.");
  check_same_device(values, name, images, "the images");
}

}  // namespace captum_proto
