// Sizes and strides of images (N, C, H, W).
#pragma once

#include <cstdint>

namespace captum_proto {

struct ImageShape {
  std::int64_t n, c, h, w;

  std::int64_t vertical_pairs() const { return h > 0 ? c * (h - 1) * w : 0; }
  std::int64_t horizontal_pairs() const { return w > 0 ? c * h * (w - 1) : 0; }
};

/// Strides in values, of dimensions n, c, h, w.
struct ImageStrides {
  std::int64_t n, c, h, w;

  bool interleaves_channels(const ImageShape& shape) const { return shape.c > 1 && c == 1 && w == shape.c; }
};

}  // namespace captum_proto
