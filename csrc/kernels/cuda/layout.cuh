// Sizes and strides of images.
#pragma once

#include "platform.cuh"

namespace captum_proto::cuda {

/// Sizes and strides of (N, C, H, W), channels_last or any other.
struct Layout {
  int64_t images, channels, height, width;
  int64_t image_stride, channel_stride, height_stride, width_stride;

  /// Pixels of a row lie one after the other, each with its channels.
  bool channels_innermost() const { return channels > 1 && channel_stride == 1 && width_stride == channels; }
  /// Number of vertical, of horizontal neighbors in one image.
  int64_t vertical_pairs() const { return height > 0 ? channels * (height - 1) * width : 0; }
  int64_t horizontal_pairs() const { return width > 0 ? channels * height * (width - 1) : 0; }
};

}  // namespace captum_proto::cuda
