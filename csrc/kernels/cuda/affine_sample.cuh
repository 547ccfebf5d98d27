// ops.affine_sample: bilinear samples of images under an affine map, scaled and shifted channel by channel, and their gradient.
#pragma once

#include "../border.h"
#include "../limits.h"
#include "layout.cuh"
#include "values.cuh"

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

  /// From the matrix of torch.nn.functional.affine_grid, in which each side of an image reaches from -1 to 1.
  __device__ __forceinline__ AffineMap(const Matrices& matrices, int64_t image, int height, int width) {
    const double h = height, w = width;
    const double middle_column = (1 - w) / 2, middle_row = (1 - h) / 2;
    x.by_column = matrices.at(image, 0, 0);
    x.by_row = multiply(matrices.at(image, 0, 1), w / h);
    x.constant = add(add(multiply(x.by_column, middle_column), multiply(x.by_row, middle_row)),
                     add(multiply(matrices.at(image, 0, 2), w), w - 1) / 2);
    y.by_column = multiply(matrices.at(image, 1, 0), h / w);
    y.by_row = matrices.at(image, 1, 1);
    y.constant = add(add(multiply(y.by_column, middle_column), multiply(y.by_row, middle_row)),
                     add(multiply(matrices.at(image, 1, 2), h), h - 1) / 2);
  }
};

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

/// samples = sample of ((images - fill) * scale), plus shift. A thread writes one pixel of all channels.
template <Border border, typename T>
__global__ void __launch_bounds__(kBlockThreads)
    sample_pixels(const T* images, Layout layout, Matrices matrices, ChannelValues<T> scale, ChannelValues<T> shift, T fill,
                  Layout sample_layout, T* samples) {
  const int height = static_cast<int>(layout.height), width = static_cast<int>(layout.width);
  const int64_t pixels = layout.images * layout.height * layout.width;
  const int64_t threads = int64_t{gridDim.x} * blockDim.x;
  for (int64_t pixel = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; pixel < pixels; pixel += threads) {
    const int column = static_cast<int>(pixel % width);
    const int row = static_cast<int>(pixel / width % height);
    const int64_t image = pixel / width / height;
    const AffineMap map(matrices, image, height, width);
    const double x = inside<border>(map.x.at(map.x.start_of(row), column), width);
    const double y = inside<border>(map.y.at(map.y.start_of(row), column), height);
    T* out = samples + image * sample_layout.image_stride + row * sample_layout.height_stride + column * sample_layout.width_stride;
    if (border == Border::kConstant && !(x >= -1 && x < width && y >= -1 && y < height)) {  // nor where one is NaN
      for (int64_t c = 0; c < layout.channels; ++c) out[c * sample_layout.channel_stride] = shift.at(c);
      continue;
    }
    const Between<T> horizontal(x), vertical(y);
    const bool has_upper = vertical.first >= 0, has_lower = vertical.first + 1 < height;
    const bool has_left = horizontal.first >= 0, has_right = horizontal.first + 1 < width;
    const T upper_left = multiply(vertical.first_weight, horizontal.first_weight);
    const T upper_right = multiply(vertical.first_weight, horizontal.second_weight);
    const T lower_left = multiply(vertical.second_weight, horizontal.first_weight);
    const T lower_right = multiply(vertical.second_weight, horizontal.second_weight);
    // Strides beyond the image's rim are never followed.
    const int64_t place =
        image * layout.image_stride + vertical.first * layout.height_stride + horizontal.first * layout.width_stride;
    for (int64_t c = 0; c < layout.channels; ++c) {
      const T factor = scale.at(c);
      const auto weighed = [&](bool there, int64_t step, T weight) {
        const T value = there ? multiply(images[place + c * layout.channel_stride + step] - fill, factor) : T(0);
        return multiply(value, weight);
      };
      const T upper =
          add(weighed(has_upper && has_left, 0, upper_left), weighed(has_upper && has_right, layout.width_stride, upper_right));
      const T lower = add(weighed(has_lower && has_left, layout.height_stride, lower_left),
                          weighed(has_lower && has_right, layout.height_stride + layout.width_stride, lower_right));
      out[c * sample_layout.channel_stride] = add(add(upper, lower), shift.at(c));
    }
  }
}

/// A range of whole numbers from `begin` to, not including, `end`, made smaller by what is known.
struct Range {
  int begin, end;

  /// Keeps the numbers that are at least low and at most high. A bound that is NaN bounds nothing.
  __device__ __forceinline__ void keep(double low, double high) {
    if (low > begin) begin = low < end ? static_cast<int>(low) : end;
    if (high < end - 1) end = high >= begin ? static_cast<int>(high) + 1 : begin;
  }
};

/// How wrong a few operations in double can be, at most, with much to spare.
constexpr double kRounding = 1e-14;

/// How far the coordinate gets in an image, and a little more.
__device__ __forceinline__ double extent(const Coordinate& coordinate, int height, int width) {
  return fabs(coordinate.by_column) * width + fabs(coordinate.by_row) * height + fabs(coordinate.constant) + height + width;
}

/// The rows of the output from which a pixel may be read: those of the parallelogram that maps onto the pixel's neighborhood, less
/// than one pixel away on each side. Of images that go on, any.
template <Border border>
__device__ __forceinline__ Range rows_that_read(const AffineMap& map, int row, int column, int height, int width) {
  Range rows{0, height};
  if constexpr (border != Border::kConstant) return rows;
  const double straight = map.x.by_column * map.y.by_row, crossed = map.x.by_row * map.y.by_column;
  const double determinant = straight - crossed;
  // A matrix that is singular, or nearly so, does not say where to look: then every row is looked at.
  if (!(fabs(determinant) > 1e-6 * (fabs(straight) + fabs(crossed)))) return rows;
  const double x_slope = map.x.by_column / determinant, y_slope = map.y.by_column / determinant;
  const double center = x_slope * (row - map.y.constant) - y_slope * (column - map.x.constant);
  const double rounding = fabs(x_slope) * extent(map.y, height, width) + fabs(y_slope) * extent(map.x, height, width);
  const double margin = fabs(x_slope) + fabs(y_slope) + rounding * (1e6 * kRounding) + 1;
  rows.keep(center - margin, center + margin);
  return rows;
}

/// Of the columns of an output row, keeps those whose coordinate may be less than one away from `target`. False: there are none.
__device__ __forceinline__ bool keep_columns(const Coordinate& coordinate, double start, double inverse, int target, int width,
                                             Range& columns) {
  // Rounding keeps order, so the coordinates of a row lie between its ends'.
  const double first = coordinate.at(start, 0), last = coordinate.at(start, width - 1);
  const double low = target - 1.0, high = target + 1.0;
  if (!((first >= low || last >= low) && (first < high || last < high))) return false;
  const double at_low = (low - start) * inverse, at_high = (high - start) * inverse;
  const double margin = 1 + kRounding * (fabs(start) + fabs(static_cast<double>(target)) + 1) * fabs(inverse);
  if (at_low < at_high) {
    columns.keep(at_low - margin, at_high + margin);
  } else {
    columns.keep(at_high - margin, at_low + margin);
  }
  return columns.begin < columns.end;
}

/// The columns of an output row from which a pixel of a reflected or replicated image may be read, in their order, a range at a
/// time: those near each repetition of the pixel along one side. Where these are too many or too far to be told apart, all.
template <Border border>
class ColumnsThatRead {
 public:
  /// For the pixel's place, `target`, along a side of `size` pixels, along which the row's coordinate begins at `start`.
  __device__ __forceinline__ ColumnsThatRead(const Coordinate& coordinate, double start, double inverse, int target, int size,
                                             int width)
      : start_(start), inverse_(inverse), target_(target), size_(size), width_(width) {
    if constexpr (border == Border::kReflect) {
      const double first = coordinate.at(start, 0), last = coordinate.at(start, width - 1);
      const double from = floor((fmin(first, last) + 0.5) / size) - 1, to = floor((fmax(first, last) + 0.5) / size) + 1;
      if (to - from < width && fabs(first) < kFar && fabs(last) < kFar) {
        repetitions_ = static_cast<int>(to - from) + 1;
        repetition_ = static_cast<int>(inverse > 0 ? from : to);
      } else {
        repetitions_ = kAll;
      }
    } else {
      repetitions_ = 1;
    }
  }

  /// The next range, no column of which was in one before. False: there are no more.
  __device__ __forceinline__ bool next(Range& columns) {
    columns = Range{0, width_};
    if (repetitions_ == kAll) {
      repetitions_ = 0;
      return true;
    }
    for (; repetitions_ > 0; --repetitions_, repetition_ += inverse_ > 0 ? 1 : -1) {
      columns.begin = seen_;
      columns.end = width_;
      keep_near(columns);
      if (columns.begin < columns.end) {
        seen_ = columns.end;
        return true;
      }
    }
    return false;
  }

 private:
  /// In pixels: up to here repetitions are counted in 32 bits.
  static constexpr double kFar = 1e9;
  static constexpr int kAll = -1;

  /// Keeps the columns whose coordinate may be less than one and a half from the pixel's repetition: up to half a pixel outside of
  /// an image is read as its rim.
  __device__ __forceinline__ void keep_near(Range& columns) const {
    double center = target_;
    if constexpr (border == Border::kReflect) {
      center = static_cast<double>(repetition_) * size_ + (repetition_ & 1 ? size_ - 1 - target_ : target_);
    }
    const double at_low = (center - 1.5 - start_) * inverse_, at_high = (center + 1.5 - start_) * inverse_;
    const double margin = 1 + kRounding * (fabs(start_) + fabs(center) + 2) * fabs(inverse_);
    // What is replicated has no end on the outside of its first and its last pixel.
    const bool first = border == Border::kReplicate && target_ == 0, last = border == Border::kReplicate && target_ == size_ - 1;
    if (inverse_ > 0) {
      columns.keep(first ? 0 : at_low - margin, last ? width_ : at_high + margin);
    } else {
      columns.keep(last ? 0 : at_high - margin, first ? width_ : at_low + margin);
    }
  }

  double start_, inverse_;
  int target_, size_, width_, repetition_ = 0, repetitions_ = 0, seen_ = 0;
};

/// Blocks of a multiprocessor at a time: to look for repetitions takes more registers than the compiler would give to it, for which
/// a third block is not worth it.
template <Border border>
constexpr int kBlocksTogether = border == Border::kConstant ? 0 : 2;  // 0: as the compiler chooses

/// gradients = what each pixel of the images gives to the samples that it is part of, gathered in the samples' order. A thread
/// writes one pixel, up to four of its channels.
template <Border border, typename T>
__global__ void __launch_bounds__(kBlockThreads, kBlocksTogether<border>)
    gather_from_samples(const T* grad_output, Layout layout, Matrices matrices, ChannelValues<T> scale, Layout gradient_layout,
                        T* gradients) {
  const int height = static_cast<int>(layout.height), width = static_cast<int>(layout.width);
  const int64_t groups = ceil_div(layout.channels, kChannelsTogether);
  const int64_t tasks = layout.images * groups * layout.height * layout.width;
  const int64_t threads = int64_t{gridDim.x} * blockDim.x;
  for (int64_t task = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; task < tasks; task += threads) {
    const int column = static_cast<int>(task % width);
    const int row = static_cast<int>(task / width % height);
    const int64_t first_channel = task / width / height % groups * kChannelsTogether;
    const int64_t image = task / width / height / groups;
    const AffineMap map(matrices, image, height, width);
    const double inverse_x = 1 / map.x.by_column, inverse_y = 1 / map.y.by_column;
    const T* given = grad_output + image * layout.image_stride + first_channel * layout.channel_stride;
    const int channels =
        static_cast<int>(layout.channels - first_channel < kChannelsTogether ? layout.channels - first_channel : kChannelsTogether);
    T factors[kChannelsTogether], sums[kChannelsTogether];
#pragma unroll
    for (int c = 0; c < kChannelsTogether; ++c) {
      factors[c] = c < channels ? scale.at(first_channel + c) : T(0);
      sums[c] = T(0);
    }
    const Range rows = rows_that_read<border>(map, row, column, height, width);
    for (int i = rows.begin; i < rows.end; ++i) {
      const double x_start = map.x.start_of(i), y_start = map.y.start_of(i);
      const auto take = [&](const Range& columns) {
        for (int j = columns.begin; j < columns.end; ++j) {
          const double x = inside<border>(map.x.at(x_start, j), width);
          if (border != Border::kConstant && !(x >= column - 1.0 && x < column + 1.0)) continue;  // y is dear
          const double y = inside<border>(map.y.at(y_start, j), height);
          if (!(x >= column - 1.0 && x < column + 1.0 && y >= row - 1.0 && y < row + 1.0)) continue;
          const Between<T> horizontal(x), vertical(y);
          const T weight = multiply(vertical.first == row ? vertical.first_weight : vertical.second_weight,
                                    horizontal.first == column ? horizontal.first_weight : horizontal.second_weight);
          const T* values = given + i * layout.height_stride + j * layout.width_stride;
#pragma unroll
          for (int c = 0; c < kChannelsTogether; ++c) {
            if (c < channels) sums[c] = add(sums[c], multiply(multiply(values[c * layout.channel_stride], factors[c]), weight));
          }
        }
      };
      if constexpr (border == Border::kConstant) {
        Range columns{0, width};
        if (!keep_columns(map.x, x_start, inverse_x, column, width, columns)) continue;
        if (!keep_columns(map.y, y_start, inverse_y, row, width, columns)) continue;
        take(columns);
      } else {
        const bool along_x = fabs(map.x.by_column) > fabs(map.y.by_column);  // on which the row moves faster
        ColumnsThatRead<border> ranges(along_x ? map.x : map.y, along_x ? x_start : y_start, along_x ? inverse_x : inverse_y,
                                       along_x ? column : row, along_x ? width : height, width);
        for (Range columns; ranges.next(columns);) take(columns);
      }
    }
    T* out = gradients + image * gradient_layout.image_stride + first_channel * gradient_layout.channel_stride +
             row * gradient_layout.height_stride + column * gradient_layout.width_stride;
#pragma unroll
    for (int c = 0; c < kChannelsTogether; ++c) {
      if (c < channels) out[c * gradient_layout.channel_stride] = sums[c];
    }
  }
}

/// samples (N, C, H, W), of any strides.
template <Border border, typename T>
void affine_sample(const T* images, const Layout& layout, const Matrices& matrices, const ChannelValues<T>& scale,
                   const ChannelValues<T>& shift, double fill, const Layout& sample_layout, T* samples, cudaStream_t stream) {
  const int64_t pixels = layout.images * layout.height * layout.width;
  if (layout.channels == 0) return;
  launch("sampling", sample_pixels<border, T>, grid_for(ceil_div(pixels, kBlockThreads)), kBlockThreads, 0, stream, images, layout,
         matrices, scale, shift, static_cast<T>(fill), sample_layout, samples);
}

/// gradients (N, C, H, W), of any strides, given the one by the samples.
template <Border border, typename T>
void affine_sample_backward(const T* grad_output, const Layout& layout, const Matrices& matrices, const ChannelValues<T>& scale,
                            const Layout& gradient_layout, T* gradients, cudaStream_t stream) {
  const int64_t tasks = layout.images * ceil_div(layout.channels, kChannelsTogether) * layout.height * layout.width;
  launch("gathering from samples", gather_from_samples<border, T>, grid_for(ceil_div(tasks, kBlockThreads)), kBlockThreads, 0,
         stream, grad_output, layout, matrices, scale, gradient_layout, gradients);
}

}  // namespace captum_proto::cuda
