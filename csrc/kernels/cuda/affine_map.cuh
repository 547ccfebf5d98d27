// Where the pixels of affinely mapped images are read.
#pragma once

#include <cstdlib>

#include "../border.h"
#include "layout.cuh"
#include "vectors.cuh"

namespace captum_proto::cuda {

/// The 2 x 3 matrices of the images, float or double, with any strides.
struct Matrices {
  const void* data;
  bool is_double;
  int64_t image_stride, row_stride, column_stride;

  __device__ __forceinline__ double at(int64_t image, int row, int column) const {
    const int64_t place = image * image_stride + row * row_stride + column * column_stride;
    return is_double ? static_cast<const double*>(data)[place] : static_cast<double>(static_cast<const float*>(data)[place]);
  }
};

/// Steps within an image, in 32 bits where the whole image is within their reach.
template <typename Index>
struct ImageSteps {
  Index channel, height, width;

  __host__ __device__ explicit ImageSteps(const Layout& layout)
      : channel(static_cast<Index>(layout.channel_stride)),
        height(static_cast<Index>(layout.height_stride)),
        width(static_cast<Index>(layout.width_stride)) {}
};

/// Images are within the reach of 32 bits up to here: no step of theirs, nor one beyond their rim, leads farther.
constexpr int64_t kFarthestOfImage = int64_t{1} << 31;

inline bool image_fits_32_bits(const Layout& layout, int64_t farthest) {
  return (layout.channels + 1) * std::abs(layout.channel_stride) + (layout.height + 1) * std::abs(layout.height_stride) +
             (layout.width + 1) * std::abs(layout.width_stride) <
         farthest;
}

/// Whether a pixel's channels lie in vectors of 16 bytes.
template <typename T>
bool channels_lie_in_vectors(const T* images, const Layout& layout) {
  return layout.channel_stride == 1 && is_of_vectors<T>(layout.channels) && is_aligned(images) &&
         is_of_vectors<T>(layout.image_stride) && is_of_vectors<T>(layout.height_stride) && is_of_vectors<T>(layout.width_stride);
}

/// One value for each channel.
template <typename T>
struct ChannelValues {
  const T* data;
  int64_t stride;

  __device__ __forceinline__ T at(int64_t channel) const { return data[channel * stride]; }
};

/// One coordinate of where output pixels are read: column * by_column + row * by_row + constant, in pixels of the input. In double,
/// whatever the images are; always in this order and never fused, so that forward, backward and the CPU agree on every weight.
struct Coordinate {
  double by_column, by_row, constant;

  __device__ __forceinline__ double start_of(int row) const { return add(multiply(by_row, static_cast<double>(row)), constant); }
  __device__ __forceinline__ double at(double start, int column) const {
    return add(multiply(by_column, static_cast<double>(column)), start);
  }
};

struct AffineMap {
  Coordinate x, y;
};

/// From the matrix of torch.nn.functional.affine_grid, in which each side of an image reaches from -1 to 1.
__device__ __forceinline__ AffineMap affine_map(const Matrices& matrices, int64_t image, int height, int width) {
  const double h = height, w = width;
  const double middle_column = (1 - w) / 2, middle_row = (1 - h) / 2;
  AffineMap map;
  map.x.by_column = matrices.at(image, 0, 0);
  map.x.by_row = multiply(matrices.at(image, 0, 1), w / h);
  map.x.constant = add(add(multiply(map.x.by_column, middle_column), multiply(map.x.by_row, middle_row)),
                       add(multiply(matrices.at(image, 0, 2), w), w - 1) / 2);
  map.y.by_column = multiply(matrices.at(image, 1, 0), h / w);
  map.y.by_row = matrices.at(image, 1, 1);
  map.y.constant = add(add(multiply(map.y.by_column, middle_column), multiply(map.y.by_row, middle_row)),
                       add(multiply(matrices.at(image, 1, 2), h), h - 1) / 2);
  return map;
}

/// The two pixels around a coordinate, along one side: the first of them, and the weights of both.
template <typename T>
struct Between {
  int first;
  T first_weight, second_weight;

  /// For a coordinate from -1 to, not including, the side's size.
  __device__ __forceinline__ explicit Between(double coordinate) {
    const double below = floor(coordinate);
    first = static_cast<int>(below);
    second_weight = static_cast<T>(coordinate - below);
    first_weight = T(1) - second_weight;
  }
};

/// Where a coordinate along a side of `size` pixels is within it, 0 to size - 1: one that is not finite too. Between its first and
/// its last pixel it stays what it is, to the last bit.
template <Border border>
__device__ __forceinline__ double inside(double coordinate, int size) {
  if constexpr (border == Border::kConstant) return coordinate;
  const double last = size - 1;
  double folded = coordinate;
  if constexpr (border == Border::kReflect) {
    // The image and its mirror image repeat: how far it is from the nearest repetition's edge, edges being half a pixel outside.
    const double period = 2.0 * size;
    const double from_edge = add(coordinate, 0.5);
    const double repetition = add(add(from_edge / period, kRounder), -kRounder);
    const double distance = add(from_edge, -multiply(repetition, period));
    folded = coordinate >= 0 && coordinate <= last ? coordinate : add(fabs(distance), -0.5);
  }
  folded = folded > 0 ? folded : 0;  // so is what is not a number
  return folded < last ? folded : last;
}

/// Pixels of one image, one after the other, row by row, that a block works on: all that takes a division is done once, by one
/// thread.
struct Stretch {
  AffineMap map;
  int64_t image;
  int64_t part;    // of the channels
  int64_t pixels;  // from the first one to the image's end
  int first_row, first_column;

  /// Stretch `number` of an image's pixels, cut into stretches of `length`, for each of `parts` of its channels.
  __device__ __forceinline__ void start(int64_t number, int length, int64_t parts, const Layout& layout, const Matrices& matrices) {
    const int64_t pixels_of_image = layout.height * layout.width;
    const int64_t stretches = ceil_div(pixels_of_image, length);
    const int64_t first = number % stretches * length;
    image = number / stretches / parts;
    part = number / stretches % parts;
    pixels = pixels_of_image - first;
    first_row = static_cast<int>(first / layout.width);
    first_column = static_cast<int>(first % layout.width);
    map = affine_map(matrices, image, static_cast<int>(layout.height), static_cast<int>(layout.width));
  }

  static __host__ __device__ int64_t count(const Layout& layout, int length, int64_t parts) {
    return layout.images * parts * ceil_div(layout.height * layout.width, length);
  }
};

/// A pixel's place.
struct Pixel {
  int row, column;

  /// The pixel `number` of a stretch, which is no longer than 2^30.
  __device__ __forceinline__ Pixel(const Stretch& stretch, int number, int width)
      : row(stretch.first_row + (stretch.first_column + number) / width), column((stretch.first_column + number) % width) {}
};

}  // namespace captum_proto::cuda
