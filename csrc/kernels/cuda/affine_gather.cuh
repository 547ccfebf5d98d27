// The gradient of ops.affine_sample: what each pixel of the images gives to the samples that it is part of.
#pragma once

#include "../limits.h"
#include "affine_map.cuh"

namespace captum_proto::cuda {

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

/// A map backwards, as far as that is one for all pixels of an image: where to look for what reads a pixel.
struct Inverse {
  double x_by_column, y_by_column;  // one over the step of a coordinate along a row
  double x_slope, y_slope, margin;  // of rows
  bool singular;                    // or nearly so: then the matrix does not say in which rows to look

  __device__ __forceinline__ void start(const AffineMap& map, int height, int width) {
    x_by_column = 1 / map.x.by_column;
    y_by_column = 1 / map.y.by_column;
    const double straight = map.x.by_column * map.y.by_row, crossed = map.x.by_row * map.y.by_column;
    const double determinant = straight - crossed;
    singular = !(fabs(determinant) > 1e-6 * (fabs(straight) + fabs(crossed)));
    x_slope = map.x.by_column / determinant;
    y_slope = map.y.by_column / determinant;
    const double rounding = fabs(x_slope) * extent(map.y, height, width) + fabs(y_slope) * extent(map.x, height, width);
    margin = fabs(x_slope) + fabs(y_slope) + rounding * (1e6 * kRounding) + 1;
  }

  /// The rows of the output from which a pixel may be read: those of the parallelogram that maps onto the pixel's neighborhood,
  /// less than one pixel away on each side. Of images that go on, any.
  template <Border border>
  __device__ __forceinline__ Range rows_that_read(const AffineMap& map, int row, int column, int height) const {
    Range rows{0, height};
    if (border != Border::kConstant || singular) return rows;
    const double center = x_slope * (row - map.y.constant) - y_slope * (column - map.x.constant);
    rows.keep(center - margin, center + margin);
    return rows;
  }
};

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

/// A pixel of an image whose gradient is gathered, and some of its channels.
template <Border border, typename T, typename Index, bool kVectors>
struct Gathering {
  const AffineMap& map;
  const Inverse& inverse;
  int height, width, row, column;
  const T* given;  // the gradient by the samples, of the pixel's image and of the first channel
  ImageSteps<Index> steps;

  /// Whether output pixel j of a row reads this pixel, and with which weight.
  __device__ __forceinline__ bool is_read(double x_start, double y_start, int j, T& weight) const {
    const double x = inside<border>(map.x.at(x_start, j), width);
    if (border != Border::kConstant && !(x >= column - 1.0 && x < column + 1.0)) return false;  // y is dear
    const double y = inside<border>(map.y.at(y_start, j), height);
    if (!(x >= column - 1.0 && x < column + 1.0 && y >= row - 1.0 && y < row + 1.0)) return false;
    const Between<T> horizontal(x), vertical(y);
    weight = multiply(vertical.first == row ? vertical.first_weight : vertical.second_weight,
                      horizontal.first == column ? horizontal.first_weight : horizontal.second_weight);
    return true;
  }

  /// Calls take(columns) for the ranges of columns of output row i from which the pixel may be read, in their order, as long as
  /// that returns true. Whether it always did.
  template <class Take>
  __device__ __forceinline__ bool each_range(double x_start, double y_start, const Take& take) const {
    if constexpr (border == Border::kConstant) {
      Range columns{0, width};
      if (!keep_columns(map.x, x_start, inverse.x_by_column, column, width, columns)) return true;
      if (!keep_columns(map.y, y_start, inverse.y_by_column, row, width, columns)) return true;
      return take(columns);
    } else {
      const bool along_x = fabs(map.x.by_column) > fabs(map.y.by_column);  // on which the row moves faster
      ColumnsThatRead<border> ranges(along_x ? map.x : map.y, along_x ? x_start : y_start,
                                     along_x ? inverse.x_by_column : inverse.y_by_column, along_x ? column : row,
                                     along_x ? width : height, width);
      for (Range columns; ranges.next(columns);) {
        if (!take(columns)) return false;
      }
      return true;
    }
  }

  /// What output pixel j of row i gives to the pixel, of each of so many channels: its gradient by a factor and the weight. With
  /// kVectors all channels that there may be are there, and lie in vectors of 16 bytes.
  __device__ __forceinline__ void terms_of(int i, int j, T weight, int channels, const T* factors,
                                           T (&terms)[kChannelsTogether]) const {
    const T* const values = given + (i * steps.height + j * steps.width);
    if constexpr (kVectors) {
#pragma unroll
      for (int c = 0; c < kChannelsTogether; c += kVector<T>) {
        T together[kVector<T>];
        read_vector(values + c, together);
#pragma unroll
        for (int k = 0; k < kVector<T>; ++k) terms[c + k] = multiply(multiply(together[k], factors[c + k]), weight);
      }
    } else {
#pragma unroll
      for (int c = 0; c < kChannelsTogether; ++c) {
        terms[c] = c < channels ? multiply(multiply(values[c * steps.channel], factors[c]), weight) : T(0);
      }
    }
  }
};

/// How many output pixels a thread looks at for a pixel of its own: so many, and a 64th of that for each row that may read it.
/// Where there are more, as where a map takes much of the output to one place, the block's threads look at them together.
constexpr int kOutputsAlone = 1024;

/// A thread's pixel by itself: false if too many output pixels would have to be looked at. `sums` starts as zeros.
template <Border border, typename T, typename Index, bool kVectors>
__device__ __forceinline__ bool gather_alone(const Gathering<border, T, Index, kVectors>& pixel, int channels, const T* factors,
                                             int outputs_alone, T* sums) {
  const Range rows = pixel.inverse.template rows_that_read<border>(pixel.map, pixel.row, pixel.column, pixel.height);
  float left =
      static_cast<float>(outputs_alone) + static_cast<float>(outputs_alone / 64) * static_cast<float>(rows.end - rows.begin);
  for (int i = rows.begin; i < rows.end; ++i) {
    const double x_start = pixel.map.x.start_of(i), y_start = pixel.map.y.start_of(i);
    const bool enough = pixel.each_range(x_start, y_start, [&](const Range& columns) {
      left -= static_cast<float>(columns.end - columns.begin);
      if (left < 0) return false;
      for (int j = columns.begin; j < columns.end; ++j) {
        T weight;
        if (!pixel.is_read(x_start, y_start, j, weight)) continue;
        T terms[kChannelsTogether];
        pixel.terms_of(i, j, weight, channels, factors, terms);
#pragma unroll
        for (int c = 0; c < kChannelsTogether; ++c) sums[c] = add(sums[c], terms[c]);
      }
      return true;
    });
    if (!enough) return false;
  }
  return true;
}

/// What a block's threads share while they look at one pixel's outputs.
template <typename T>
struct SharedGathering {
  int64_t totals[kBlockThreads / kWarp];
  int64_t ends[kBlockThreads];  // of the rows at hand, how many columns there are up to and with each
  int begins[kBlockThreads];    // and the first of them
  T terms[2][kBlockThreads][kChannelsTogether];
};

/// The sums of all values up to and with the own one over the block; `total` is that of all. Two barriers.
__device__ inline int64_t sum_up_to(int64_t value, int64_t* totals, int64_t& total) {
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const int64_t before = __shfl_up_sync(kAllLanes, value, offset);
    if (lane_of_thread() >= offset) value += before;
  }
  if (lane_of_thread() == kWarp - 1) totals[warp_of_thread()] = value;
  __syncthreads();
  total = 0;
  for (int warp = 0; warp < kBlockThreads / kWarp; ++warp) {
    if (warp == warp_of_thread()) value += total;
    total += totals[warp];
  }
  __syncthreads();
  return value;
}

/// One pixel by the whole block: each thread looks at outputs of its own and makes their terms, and one thread a channel adds all
/// terms, in the outputs' order as gather_alone() does. Terms of zero, of outputs that do not read the pixel, change no sum, which
/// is never -0. Returns the sum of channel threadIdx.x.
template <Border border, typename T, typename Index, bool kVectors>
__device__ T gather_together(const Gathering<border, T, Index, kVectors>& pixel, int channels, const T* factors,
                             SharedGathering<T>& shared) {
  const int thread = static_cast<int>(threadIdx.x);
  const Range rows = pixel.inverse.template rows_that_read<border>(pixel.map, pixel.row, pixel.column, pixel.height);
  T sum = T(0);
  int turn = 0;
  for (int first = rows.begin; first < rows.end; first += kBlockThreads) {
    // A row a thread: the columns that may read the pixel, from the first to the last of them.
    Range columns{0, 0};
    if (first + thread < rows.end) {
      bool any = false;
      pixel.each_range(pixel.map.x.start_of(first + thread), pixel.map.y.start_of(first + thread), [&](const Range& range) {
        if (!any) columns.begin = range.begin;
        columns.end = range.end;
        any = true;
        return true;
      });
    }
    int64_t total;
    const int64_t end = sum_up_to(columns.end - columns.begin, shared.totals, total);
    shared.ends[thread] = end;
    shared.begins[thread] = columns.begin;
    __syncthreads();
    // Then an output pixel a thread.
    for (int64_t chunk = 0; chunk < total; chunk += kBlockThreads, turn ^= 1) {
      const int64_t number = chunk + thread;
      T(&terms)[kChannelsTogether] = shared.terms[turn][thread];
#pragma unroll
      for (int c = 0; c < kChannelsTogether; ++c) terms[c] = T(0);
      if (number < total) {
        int row = 0;  // the first whose end is beyond the number
        for (int step = kBlockThreads / 2; step > 0; step /= 2) {
          if (shared.ends[row + step - 1] <= number) row += step;
        }
        const int i = first + row;
        const int j = shared.begins[row] + static_cast<int>(number - (row == 0 ? 0 : shared.ends[row - 1]));
        T weight;
        if (pixel.is_read(pixel.map.x.start_of(i), pixel.map.y.start_of(i), j, weight)) {
          pixel.terms_of(i, j, weight, channels, factors, terms);
        }
      }
      __syncthreads();  // the terms are there; those of the turn before have been added
      if (thread < kChannelsTogether) {
        const int count = static_cast<int>(total - chunk < kBlockThreads ? total - chunk : kBlockThreads);
#pragma unroll 8
        for (int k = 0; k < count; ++k) sum = add(sum, shared.terms[turn][k][thread]);
      }
    }
  }
  return sum;
}

/// Blocks of a multiprocessor at a time: to invert a map, and to look for repetitions, takes more registers than the compiler would
/// give to it, for which a third block is not worth it.
constexpr int kGatheringBlocks = 2;

/// gradients = what each pixel of the images gives to the samples that it is part of, gathered in the samples' order. A thread
/// writes one pixel, up to four of its channels.
template <Border border, typename T, typename Index, bool kVectors>
__global__ void __launch_bounds__(kBlockThreads, kGatheringBlocks)
    gather_from_samples(const T* __restrict__ grad_output, Layout layout, Matrices matrices, ChannelValues<T> scale,
                        Layout gradient_layout, int outputs_alone, T* __restrict__ gradients) {
  using Words = unsigned[kBlockThreads / kWarp];
  CAPTUM_PROTO_SHARED(Stretch, stretch);
  CAPTUM_PROTO_SHARED(Inverse, inverse);
  CAPTUM_PROTO_SHARED(Words, crowded);
  CAPTUM_PROTO_SHARED(SharedGathering<T>, shared);
  const int height = static_cast<int>(layout.height), width = static_cast<int>(layout.width);
  const ImageSteps<Index> steps(layout), gradient_steps(gradient_layout);
  const int64_t groups = ceil_div(layout.channels, kChannelsTogether);
  const int64_t stretches = Stretch::count(layout, kBlockThreads, groups);
  for (int64_t number = blockIdx.x; number < stretches; number += gridDim.x) {
    if (threadIdx.x == 0) {
      stretch.start(number, kBlockThreads, groups, layout, matrices);
      inverse.start(stretch.map, height, width);
    }
    __syncthreads();
    const int64_t first_channel = stretch.part * kChannelsTogether;
    const int channels =
        static_cast<int>(layout.channels - first_channel < kChannelsTogether ? layout.channels - first_channel : kChannelsTogether);
    T factors[kChannelsTogether];
#pragma unroll
    for (int c = 0; c < kChannelsTogether; ++c) factors[c] = c < channels ? scale.at(first_channel + c) : T(0);
    const auto gathering = [&](int i) {
      const Pixel place(stretch, i, width);
      return Gathering<border, T, Index, kVectors>{
          stretch.map,
          inverse,
          height,
          width,
          place.row,
          place.column,
          grad_output + stretch.image * layout.image_stride + first_channel * layout.channel_stride,
          steps};
    };
    const auto out = [&](int i) {
      const Pixel place(stretch, i, width);
      return gradients + stretch.image * gradient_layout.image_stride + first_channel * gradient_layout.channel_stride +
             (place.row * gradient_steps.height + place.column * gradient_steps.width);
    };

    const int own = static_cast<int>(threadIdx.x);
    bool too_many = false;
    if (own < stretch.pixels) {
      T sums[kChannelsTogether] = {};
      too_many = !gather_alone(gathering(own), channels, factors, outputs_alone, sums);
      T* const own_out = out(own);
      if constexpr (kVectors) {
#pragma unroll
        for (int c = 0; c < kChannelsTogether; c += kVector<T>) {
          T together[kVector<T>];
#pragma unroll
          for (int k = 0; k < kVector<T>; ++k) together[k] = sums[c + k];
          if (!too_many) write_vector(own_out + c, together);
        }
      } else {
#pragma unroll
        for (int c = 0; c < kChannelsTogether; ++c) {
          if (c < channels && !too_many) own_out[c * gradient_steps.channel] = sums[c];
        }
      }
    }
    const unsigned mask = __ballot_sync(kAllLanes, too_many);
    if (lane_of_thread() == 0) crowded[warp_of_thread()] = mask;
    if (__syncthreads_or(too_many) != 0) {
      for (int word = 0; word < kBlockThreads / kWarp; ++word) {
        for (unsigned left = crowded[word]; left != 0; left &= left - 1) {
          const int i = word * kWarp + __ffs(static_cast<int>(left)) - 1;
          const T sum = gather_together(gathering(i), channels, factors, shared);
          if (own < channels) out(i)[own * gradient_steps.channel] = sum;
        }
      }
    }
    __syncthreads();  // before the next stretch starts
  }
}

/// gradients (N, C, H, W), of any strides, given the one by the samples.
template <Border border, typename T>
void affine_sample_backward(const T* grad_output, const Layout& layout, const Matrices& matrices, const ChannelValues<T>& scale,
                            const Layout& gradient_layout, T* gradients, cudaStream_t stream, int outputs_alone = kOutputsAlone,
                            int64_t farthest = kFarthestOfImage) {
  const int64_t stretches = Stretch::count(layout, kBlockThreads, ceil_div(layout.channels, kChannelsTogether));
  auto kernel = gather_from_samples<border, T, int64_t, false>;
  if (image_fits_32_bits(layout, farthest) && image_fits_32_bits(gradient_layout, farthest)) {
    const bool in_vectors = layout.channels % kChannelsTogether == 0 && channels_lie_in_vectors(grad_output, layout) &&
                            channels_lie_in_vectors<T>(gradients, gradient_layout);
    kernel = in_vectors ? gather_from_samples<border, T, int32_t, true> : gather_from_samples<border, T, int32_t, false>;
  }
  launch("gathering from samples", kernel, grid_for(stretches), kBlockThreads, 0, stream, grad_output, layout, matrices, scale,
         gradient_layout, outputs_alone, gradients);
}

}  // namespace captum_proto::cuda
