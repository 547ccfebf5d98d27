// Bilinear samples of images under an affine map, scaled and shifted channel by channel, and their gradient.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../border.h"
#include "affine_map.h"
#include "channel_vectors.h"
#include "images.h"
#include "workspace.h"

namespace captum_proto {

/// A rectangle of pixels of four values each, some of which may lie one step outside the image.
template <class T>
struct Patch {
  T* values;
  std::int64_t first_row, first_column, rows, columns;

  T* row(std::int64_t number) const { return values + (number - first_row) * columns * kChannelsTogether; }
};

/// The four pixels around each of a few coordinates, and their weights.
template <class T>
struct Taps {
  static constexpr int kMost = 64;

  std::int32_t place[kMost];  // of the upper left one, in a patch
  T upper_left[kMost], upper_right[kMost], lower_left[kMost], lower_right[kMost];

  /// For output columns [begin, begin + count) of images of a shape. With a constant border all taps have to lie in the patch;
  /// else, the place of one in other rows is of no pixel in the patch that has one below it.
  template <Border border>
  void find(const RowCoordinate& x, const RowCoordinate& y, std::int64_t begin, int count, const Patch<T>& patch,
            const ImageShape& shape) {
    const Doubles first_row = Doubles{} + static_cast<double>(patch.first_row);
    const Doubles first_column = Doubles{} + static_cast<double>(patch.first_column);
    const double columns = static_cast<double>(patch.columns);
    Doubles column = Doubles{0, 1, 2, 3} + static_cast<double>(begin);
    for (int k = 0; k < count; k += 4) {
      Doubles x_here = column * x.slope + x.start, y_here = column * y.slope + y.start;
      if constexpr (border != Border::kConstant) {
        bring_inside<border>(x_here, static_cast<double>(shape.w));
        bring_inside<border>(y_here, static_cast<double>(shape.h));
      }
      column += 4.0;
      // Rounded down: towards zero first, which every processor does four at a time. Lanes beyond `count` may not fit 32 bits, and
      // are not used.
      Doubles left = __builtin_convertvector(__builtin_convertvector(x_here, Integers), Doubles);
      Doubles top = __builtin_convertvector(__builtin_convertvector(y_here, Integers), Doubles);
      const Doubles ones = Doubles{} + 1.0;
      left -= reinterpret_cast<Doubles>((x_here < left) & reinterpret_cast<Masks>(ones));
      top -= reinterpret_cast<Doubles>((y_here < top) & reinterpret_cast<Masks>(ones));
      const Values right_weight = __builtin_convertvector(x_here - left, Values);
      const Values lower_weight = __builtin_convertvector(y_here - top, Values);
      const Values left_weight = T(1) - right_weight, upper_weight = T(1) - lower_weight;
      store(__builtin_convertvector((top - first_row) * columns + (left - first_column), Integers), place + k);
      store(upper_weight * left_weight, upper_left + k);
      store(upper_weight * right_weight, upper_right + k);
      store(lower_weight * left_weight, lower_left + k);
      store(lower_weight * right_weight, lower_right + k);
    }
  }

 private:
  typedef double Doubles __attribute__((vector_size(4 * sizeof(double))));
  typedef std::int64_t Masks __attribute__((vector_size(4 * sizeof(std::int64_t))));
  typedef std::int32_t Integers __attribute__((vector_size(4 * sizeof(std::int32_t))));
  using Values = typename VectorOf<T>::type;

  /// Coordinates along a side of `size` pixels become those at which the same is within it, 0 to size - 1: what is not finite too.
  /// Between its first and its last pixel they stay what they are, to the last bit.
  template <Border border>
  static void bring_inside(Doubles& coordinate, double size) {
    const Doubles zero{}, last = zero + (size - 1);
    if constexpr (border == Border::kReflect) {
      // The image and its mirror image repeat: how far it is from the nearest repetition's edge, edges being half a pixel outside.
      const double period = 2 * size;
      const Doubles from_edge = coordinate + 0.5;
      const Doubles repetition = (from_edge / period + kRounder) - kRounder;
      const Doubles distance = from_edge - repetition * period;
      const Doubles folded = ((distance < zero) ? -distance : distance) - 0.5;
      coordinate = ((coordinate >= zero) & (coordinate <= last)) ? coordinate : folded;
    }
    coordinate = (coordinate > zero) ? coordinate : zero;  // so is what is not a number
    coordinate = (coordinate < last) ? coordinate : last;
  }

  template <class Vector, class U>
  static void store(const Vector& vector, U* out) {
    std::memcpy(out, &vector, sizeof(vector));
  }
};

/// One call of the operator or of its backward. Work is cut into units: one image's rows of a band, four channels of them at most.
/// Which bands there are changes no result.
template <class T>
struct AffineSampling {
  ImageShape shape;
  const AffineMap* maps;  // one for each image
  const T* scale;         // one for each channel
  const T* shift;
  T fill;
  const T* in;
  ImageStrides in_strides;
  T* out;
  ImageStrides out_strides;
  std::int64_t bands;

  std::int64_t groups() const { return (shape.c + kChannelsTogether - 1) / kChannelsTogether; }
  std::int64_t units() const { return shape.n * groups() * bands; }
};

template <class T>
struct AffineUnit {
  std::int64_t image, first_channel, channels, first_row, end_row;

  AffineUnit(std::int64_t number, const AffineSampling<T>& call) {
    const std::int64_t band = number % call.bands, group = number / call.bands % call.groups();
    image = number / call.bands / call.groups();
    first_channel = group * kChannelsTogether;
    channels = std::min<std::int64_t>(kChannelsTogether, call.shape.c - first_channel);
    first_row = call.shape.h * band / call.bands;
    end_row = call.shape.h * (band + 1) / call.bands;
  }

  template <class U>
  PixelRow<U> row(U* data, const ImageStrides& strides, std::int64_t number) const {
    return {data + image * strides.n + first_channel * strides.c + number * strides.h, strides.c, strides.w, channels};
  }

  /// Values scaled as the output's channels are, less `offset` before that.
  ChannelMap<T> channel_map(const AffineSampling<T>& call, T offset) const {
    ChannelMap<T> map{offset, {}};
    for (std::int64_t c = 0; c < channels; ++c) map.factor[c] = call.scale[first_channel + c];
    return map;
  }
};

/// The first of the pixels that the coordinates of output rows [first_row, end_row) touch along one side of `size` pixels, and how
/// many there are; those one step outside the image included. None: count 0.
template <Border border>
void touched(const RowCoordinate& first, const RowCoordinate& last, std::int64_t width, std::int64_t size, std::int64_t& begin,
             std::int64_t& count) {
  const double corners[] = {first.at(0), first.at(width - 1), last.at(0), last.at(width - 1)};
  double low = corners[0], high = corners[0];
  bool finite = true;
  for (const double corner : corners) {
    finite = finite && std::isfinite(corner);
    low = std::min(low, corner);
    high = std::max(high, corner);
  }
  const double outside = -1, end = static_cast<double>(size);
  if constexpr (border != Border::kConstant) {
    if (border == Border::kReflect && !(low >= -0.5 && high <= end - 0.5))
      finite = false;  // what is reflected may be read anywhere
    low = std::min(std::max(low, 0.0), end - 1);
    high = std::min(std::max(high, 0.0), end - 1);
  }
  if (!finite) {  // no corner bounds what lies between
    low = outside;
    high = end;
  }
  begin = static_cast<std::int64_t>(std::floor(std::min(std::max(low, outside), end)));
  const std::int64_t right = static_cast<std::int64_t>(std::floor(std::min(std::max(high, outside - 1), end - 1))) + 1;
  count = std::max<std::int64_t>(0, right + 1 - begin);
}

/// Copies what a band of the output touches: scaled, channels side by side, and zero outside the image.
template <Border border, class T>
Patch<T> copy_patch(const AffineSampling<T>& call, const AffineUnit<T>& unit, Workspace& workspace) {
  const AffineMap& map = call.maps[unit.image];
  const double first_row = static_cast<double>(unit.first_row), last_row = static_cast<double>(unit.end_row - 1);
  Patch<T> patch;
  touched<border>({map.ax, map.bx * first_row + map.cx}, {map.ax, map.bx * last_row + map.cx}, call.shape.w, call.shape.w,
                  patch.first_column, patch.columns);
  touched<border>({map.ay, map.by * first_row + map.cy}, {map.ay, map.by * last_row + map.cy}, call.shape.w, call.shape.h,
                  patch.first_row, patch.rows);
  patch.values =
      workspace.template get<T>(Workspace::kItems, static_cast<std::size_t>(patch.rows * patch.columns * kChannelsTogether));
  const ChannelMap<T> channel_map = unit.channel_map(call, call.fill);
  const std::int64_t end_column = patch.first_column + patch.columns;
  const std::int64_t begin = std::max<std::int64_t>(0, patch.first_column), end = std::min(end_column, call.shape.w);
  const auto clear = [](T* out, std::int64_t pixels) {
    if (pixels > 0) std::fill(out, out + pixels * kChannelsTogether, T(0));
  };
  for (std::int64_t i = patch.first_row; i < patch.first_row + patch.rows; ++i) {
    T* const out = patch.row(i);
    if (i < 0 || i >= call.shape.h || begin >= end) {
      clear(out, patch.columns);
    } else {
      clear(out, begin - patch.first_column);
      interleave(unit.row(call.in, call.in_strides, i), begin, end, channel_map,
                 out + (begin - patch.first_column) * kChannelsTogether);
      clear(out + (end - patch.first_column) * kChannelsTogether, end_column - end);
    }
  }
  return patch;
}

/// Writes the samples of units [begin, end).
template <Border border, class T>
void affine_sample_units(AffineSampling<T> call, std::int64_t begin, std::int64_t end) {
  using Vector = typename VectorOf<T>::type;
  const WorkspaceLease lease;
  const double height = static_cast<double>(call.shape.h), width = static_cast<double>(call.shape.w);
  T* const samples = lease.workspace.template get<T>(Workspace::kRow, static_cast<std::size_t>(call.shape.w * kChannelsTogether));
  Taps<T> taps;
  for (std::int64_t number = begin; number < end; ++number) {
    const AffineUnit<T> unit(number, call);
    if (unit.first_row == unit.end_row) continue;
    const AffineMap& map = call.maps[unit.image];
    const Patch<T> patch = copy_patch<border>(call, unit, lease.workspace);
    const std::int64_t row_length = patch.columns * kChannelsTogether;
    Vector shift = {};
    for (std::int64_t c = 0; c < unit.channels; ++c) shift[c] = call.shift[unit.first_channel + c];
    for (std::int64_t i = unit.first_row; i < unit.end_row; ++i) {
      const double row = static_cast<double>(i);
      const RowCoordinate x{map.ax, map.bx * row + map.cx}, y{map.ay, map.by * row + map.cy};
      std::int64_t inner_begin = 0, inner_end = call.shape.w;
      if constexpr (border == Border::kConstant) {
        std::int64_t x_begin, x_end, y_begin, y_end;
        x.columns_within(-1, width, call.shape.w, x_begin, x_end);
        y.columns_within(-1, height, call.shape.w, y_begin, y_end);
        inner_begin = std::max(x_begin, y_begin);
        inner_end = std::max(inner_begin, std::min(x_end, y_end));
      }
      T* out = samples;
      const auto outside = [&](std::int64_t pixels) {
        for (; pixels > 0; --pixels, out += kChannelsTogether) std::memcpy(out, &shift, sizeof(shift));
      };
      outside(inner_begin);
      for (std::int64_t j = inner_begin; j < inner_end; j += taps.kMost) {
        const int count = static_cast<int>(std::min<std::int64_t>(taps.kMost, inner_end - j));
        taps.template find<border>(x, y, j, count, patch, call.shape);
        for (int k = 0; k < count; ++k, out += kChannelsTogether) {
          const T* const upper = patch.values + std::int64_t{taps.place[k]} * kChannelsTogether;
          const T* const lower = upper + row_length;
          Vector upper_left, upper_right, lower_left, lower_right;
          std::memcpy(&upper_left, upper, sizeof(Vector));
          std::memcpy(&upper_right, upper + kChannelsTogether, sizeof(Vector));
          std::memcpy(&lower_left, lower, sizeof(Vector));
          std::memcpy(&lower_right, lower + kChannelsTogether, sizeof(Vector));
          const Vector sample = ((upper_left * taps.upper_left[k] + upper_right * taps.upper_right[k]) +
                                 (lower_left * taps.lower_left[k] + lower_right * taps.lower_right[k])) +
                                shift;
          std::memcpy(out, &sample, sizeof(Vector));
        }
      }
      outside(call.shape.w - inner_end);
      separate(samples, 0, call.shape.w, unit.row(call.out, call.out_strides, i));
    }
  }
}

/// Writes the gradients of units [begin, end): `in` is the gradient by the output. Each band of the images takes what the output's
/// pixels give to it, in the output's order; what they give to neighboring bands falls on the patch's rim and is dropped.
template <Border border, class T>
void affine_sample_gradient_units(AffineSampling<T> call, std::int64_t begin, std::int64_t end) {
  using Vector = typename VectorOf<T>::type;
  const WorkspaceLease lease;
  const double width = static_cast<double>(call.shape.w);
  T* const given = lease.workspace.template get<T>(Workspace::kRow, static_cast<std::size_t>(call.shape.w * kChannelsTogether));
  Taps<T> taps;
  for (std::int64_t number = begin; number < end; ++number) {
    const AffineUnit<T> unit(number, call);
    if (unit.first_row == unit.end_row) continue;
    const AffineMap& map = call.maps[unit.image];
    const ChannelMap<T> channel_map = unit.channel_map(call, 0);
    Patch<T> patch{nullptr, unit.first_row - 1, -1, unit.end_row - unit.first_row + 2, call.shape.w + 2};
    const std::int64_t row_length = patch.columns * kChannelsTogether;
    const std::size_t values = static_cast<std::size_t>(patch.rows * row_length);
    [[maybe_unused]] const std::int64_t places = (patch.rows - 1) * patch.columns;
    patch.values = lease.workspace.template get<T>(Workspace::kItems, values);
    std::fill(patch.values, patch.values + values, T(0));
    for (std::int64_t i = 0; i < call.shape.h; ++i) {
      const double row = static_cast<double>(i);
      const RowCoordinate x{map.ax, map.bx * row + map.cx}, y{map.ay, map.by * row + map.cy};
      std::int64_t inner_begin = 0, inner_end = call.shape.w;
      if constexpr (border == Border::kConstant) {
        std::int64_t x_begin, x_end, y_begin, y_end;
        x.columns_within(-1, width, call.shape.w, x_begin, x_end);
        y.columns_within(static_cast<double>(patch.first_row), static_cast<double>(unit.end_row), call.shape.w, y_begin, y_end);
        inner_begin = std::max(x_begin, y_begin);
        inner_end = std::min(x_end, y_end);
      }
      interleave(unit.row(call.in, call.in_strides, i), inner_begin, inner_end, channel_map, given);
      const T* value = given;
      for (std::int64_t j = inner_begin; j < inner_end; j += taps.kMost) {
        const int count = static_cast<int>(std::min<std::int64_t>(taps.kMost, inner_end - j));
        taps.template find<border>(x, y, j, count, patch, call.shape);
        for (int k = 0; k < count; ++k, value += kChannelsTogether) {
          if constexpr (border != Border::kConstant) {
            if (taps.place[k] < 0 || taps.place[k] >= places) continue;  // another band's
          }
          T* const upper = patch.values + std::int64_t{taps.place[k]} * kChannelsTogether;
          T* const lower = upper + row_length;
          Vector gradient, upper_left, upper_right, lower_left, lower_right;
          std::memcpy(&gradient, value, sizeof(Vector));
          std::memcpy(&upper_left, upper, sizeof(Vector));
          std::memcpy(&upper_right, upper + kChannelsTogether, sizeof(Vector));
          std::memcpy(&lower_left, lower, sizeof(Vector));
          std::memcpy(&lower_right, lower + kChannelsTogether, sizeof(Vector));
          upper_left += gradient * taps.upper_left[k];
          upper_right += gradient * taps.upper_right[k];
          lower_left += gradient * taps.lower_left[k];
          lower_right += gradient * taps.lower_right[k];
          std::memcpy(upper, &upper_left, sizeof(Vector));
          std::memcpy(upper + kChannelsTogether, &upper_right, sizeof(Vector));
          std::memcpy(lower, &lower_left, sizeof(Vector));
          std::memcpy(lower + kChannelsTogether, &lower_right, sizeof(Vector));
        }
      }
    }
    for (std::int64_t i = unit.first_row; i < unit.end_row; ++i)
      separate(patch.row(i) + kChannelsTogether, 0, call.shape.w, unit.row(call.out, call.out_strides, i));
  }
}

}  // namespace captum_proto
