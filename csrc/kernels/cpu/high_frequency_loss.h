// Mean difference between neighboring pixels of each image, and its gradient.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "float_values.h"
#include "images.h"
#include "workspace.h"

namespace captum_proto {

/// The type in which differences of T are taken, and in which the loss is returned.
template <class T>
using Wide = decltype(widen(T{}));

/// An image as planes of lines. Channels that lie side by side share one long line, in which the next pixel is `neighbor` values
/// away; so channels_last is read as it lies.
struct Lines {
  std::int64_t planes, lines, length, neighbor;

  Lines(const ImageShape& shape, bool interleaved)
      : planes(interleaved ? 1 : shape.c),
        lines(shape.h),
        length(interleaved ? shape.w * shape.c : shape.w),
        neighbor(interleaved ? shape.c : 1) {}

  /// Work is cut into units of a few lines, by shape alone: sums do not depend on the number of threads.
  std::int64_t lines_per_unit() const { return std::max<std::int64_t>(1, 8192 / std::max<std::int64_t>(1, length)); }
  std::int64_t units_per_plane() const { return (lines + lines_per_unit() - 1) / lines_per_unit(); }
  std::int64_t units() const { return planes * units_per_plane(); }
};

template <class T>
struct Images {
  T* data;
  ImageShape shape;
  ImageStrides strides;
  Lines lines;

  Images(T* data, const ImageShape& shape, const ImageStrides& strides, bool interleaved)
      : data(data), shape(shape), strides(strides), lines(shape, interleaved) {}

  std::int64_t value_stride() const { return lines.neighbor == 1 ? strides.w : 1; }
  T* line(std::int64_t image, std::int64_t plane, std::int64_t line) const {
    return data + image * strides.n + plane * strides.c + line * strides.h;
  }
};

/// The unit of work with this number: some lines of one plane of one image.
struct Unit {
  std::int64_t image, plane, first_line, end_line;

  Unit(std::int64_t number, const Lines& lines) {
    const std::int64_t in_image = number % lines.units();
    image = number / lines.units();
    plane = in_image / lines.units_per_plane();
    first_line = in_image % lines.units_per_plane() * lines.lines_per_unit();
    end_line = std::min(first_line + lines.lines_per_unit(), lines.lines);
  }
};

/// Reads lines as contiguous values of type Wide<T>: in place where they are that already, else through one of three buffers in
/// turn.
template <class T>
class LineReader {
 public:
  LineReader(const Images<const T>& images, Workspace& workspace)
      : images_(images),
        in_place_(std::is_same_v<T, Wide<T>> && images.value_stride() == 1),
        buffers_(in_place_ ? nullptr : workspace.get<Wide<T>>(Workspace::kRow, 3 * images.lines.length)) {}

  /// The line stays readable until two others of the same reader have been read.
  const Wide<T>* read(const Unit& unit, std::int64_t line) {
    const T* values = images_.line(unit.image, unit.plane, line);
    if constexpr (std::is_same_v<T, Wide<T>>) {
      if (in_place_) return values;
    }
    Wide<T>* buffer = buffers_ + line % 3 * images_.lines.length;
    const std::int64_t stride = images_.value_stride();
    if (stride == 1) {
      for (std::int64_t i = 0; i < images_.lines.length; ++i) buffer[i] = widen(values[i]);
    } else {
      for (std::int64_t i = 0; i < images_.lines.length; ++i) buffer[i] = widen(values[i * stride]);
    }
    return buffer;
  }

 private:
  Images<const T> images_;
  bool in_place_;
  Wide<T>* buffers_;
};

/// The sums of one unit's differences.
struct UnitSums {
  double vertical, horizontal;
};

/// A sum in double whose order depends on the lengths of its lines alone.
class LaneSum {
 public:
  /// Adds |to - from|^power over `length` values.
  template <int power, class Value>
  void add(const Value* from, const Value* to, std::int64_t length) {
    const auto term = [=](std::int64_t i) {
      const Value difference = to[i] - from[i];
      return static_cast<double>(power == 1 ? std::fabs(difference) : difference * difference);
    };
    std::int64_t i = 0;
    for (; i + kLanes <= length; i += kLanes)
      for (std::int64_t lane = 0; lane < kLanes; ++lane) sums_[lane] += term(i + lane);
    for (; i < length; ++i) sums_[i % kLanes] += term(i);
  }

  double total() const {
    double total = 0;
    for (const double sum : sums_) total += sum;
    return total;
  }

 private:
  static constexpr std::int64_t kLanes = 16;
  double sums_[kLanes] = {};
};

/// Sums the differences of units [begin, end).
template <class T, int power>
void high_frequency_units(Images<const T> images, std::int64_t begin, std::int64_t end, UnitSums* sums) {
  if (images.lines.length == 0) {  // no pixel has a neighbor, and there may be no memory to point into
    std::fill(sums + begin, sums + end, UnitSums{0, 0});
    return;
  }
  const WorkspaceLease lease;
  const Lines& lines = images.lines;
  LineReader<T> reader(images, lease.workspace);
  for (std::int64_t number = begin; number < end; ++number) {
    const Unit unit(number, lines);
    LaneSum vertical, horizontal;
    const Wide<T>* line = reader.read(unit, unit.first_line);
    for (std::int64_t i = unit.first_line; i < unit.end_line; ++i) {
      horizontal.template add<power>(line, line + lines.neighbor, lines.length - lines.neighbor);
      if (i + 1 == lines.lines) break;
      const Wide<T>* next = reader.read(unit, i + 1);
      vertical.template add<power>(line, next, lines.length);
      line = next;
    }
    sums[number] = UnitSums{vertical.total(), horizontal.total()};
  }
}

/// The loss of one image from the sums of its units.
template <class Value>
Value high_frequency_loss_of_image(const ImageShape& shape, const UnitSums* sums, std::int64_t units) {
  double vertical = 0, horizontal = 0;
  for (std::int64_t i = 0; i < units; ++i) {
    vertical += sums[i].vertical;
    horizontal += sums[i].horizontal;
  }
  Value loss = 0;
  if (shape.vertical_pairs() > 0) loss += static_cast<Value>(vertical / static_cast<double>(shape.vertical_pairs()));
  if (shape.horizontal_pairs() > 0) loss += static_cast<Value>(horizontal / static_cast<double>(shape.horizontal_pairs()));
  return loss;
}

/// What a difference adds to the gradient of its later pixel, and takes from its earlier one, before scaling.
template <int power, class Value>
Value slope(Value difference) {
  if constexpr (power == 1) {
    return static_cast<Value>(difference > 0) - static_cast<Value>(difference < 0);
  } else {
    return 2 * difference;
  }
}

/// What each difference between two lines, or of a line with itself a pixel further, adds to the gradient of the later pixel and
/// takes from that of the earlier one.
template <int power, class Value>
void line_slopes(const Value* from, const Value* to, std::int64_t length, Value scale, Value* out) {
  for (std::int64_t i = 0; i < length; ++i) out[i] = slope<power>(to[i] - from[i]) * scale;
}

/// Gathers the gradient of one line from the slopes to the lines above and below, where there are any, and within the line. Every
/// slope has a part in two pixels, and is computed once.
template <bool has_above, bool has_below, class Value>
void line_gradient(const Value* above, const Value* below, const Value* within, std::int64_t length, std::int64_t neighbor,
                   Value* out) {
  const auto vertical = [=](std::int64_t i) {
    Value gradient = 0;
    if constexpr (has_above) gradient += above[i];
    if constexpr (has_below) gradient -= below[i];
    return gradient;
  };
  const auto edge = [=](std::int64_t i) {
    Value gradient = vertical(i);
    if (i >= neighbor) gradient += within[i - neighbor];
    if (i + neighbor < length) gradient -= within[i];
    out[i] = gradient;
  };
  const std::int64_t inner_begin = std::min(neighbor, length);
  const std::int64_t inner_end = std::max(inner_begin, length - neighbor);
  for (std::int64_t i = 0; i < inner_begin; ++i) edge(i);
  for (std::int64_t i = inner_begin; i < inner_end; ++i) out[i] = vertical(i) + within[i - neighbor] - within[i];
  for (std::int64_t i = inner_end; i < length; ++i) edge(i);
}

/// Writes the gradients of units [begin, end); `grad_output` holds one value for each image.
template <class T, int power>
void high_frequency_gradient_units(Images<const T> images, Images<T> gradients, const Wide<T>* grad_output, std::int64_t begin,
                                   std::int64_t end) {
  using Value = Wide<T>;
  if (images.lines.length == 0) return;
  const WorkspaceLease lease;
  const Lines& lines = images.lines;
  LineReader<T> reader(images, lease.workspace);
  Value* const buffers = lease.workspace.template get<Value>(Workspace::kMeanRow, 4 * lines.length);
  Value *const buffer = buffers, *const within = buffers + lines.length;
  Value *above = buffers + 2 * lines.length, *below = buffers + 3 * lines.length;
  const std::int64_t out_stride = gradients.value_stride();
  for (std::int64_t number = begin; number < end; ++number) {
    const Unit unit(number, lines);
    const Value scale = grad_output[unit.image];
    const Value vertical_scale = scale / static_cast<Value>(images.shape.vertical_pairs());
    const Value horizontal_scale = scale / static_cast<Value>(images.shape.horizontal_pairs());
    const Value* last = unit.first_line > 0 ? reader.read(unit, unit.first_line - 1) : nullptr;
    const Value* line = reader.read(unit, unit.first_line);
    if (last != nullptr) line_slopes<power>(last, line, lines.length, vertical_scale, above);
    for (std::int64_t i = unit.first_line; i < unit.end_line; ++i) {
      const Value* next = i + 1 < lines.lines ? reader.read(unit, i + 1) : nullptr;
      if (next != nullptr) line_slopes<power>(line, next, lines.length, vertical_scale, below);
      line_slopes<power>(line, line + lines.neighbor, lines.length - lines.neighbor, horizontal_scale, within);
      T* out = gradients.line(unit.image, unit.plane, i);
      Value* wide_out = buffer;
      if constexpr (std::is_same_v<T, Value>) {
        if (out_stride == 1) wide_out = out;
      }
      const auto write = [&](auto has_above, auto has_below) {
        line_gradient<has_above, has_below, Value>(above, below, within, lines.length, lines.neighbor, wide_out);
      };
      constexpr std::true_type kYes;
      constexpr std::false_type kNo;
      if (i > 0 && next != nullptr) {
        write(kYes, kYes);
      } else if (i > 0) {
        write(kYes, kNo);
      } else if (next != nullptr) {
        write(kNo, kYes);
      } else {
        write(kNo, kNo);
      }
      if (wide_out == buffer)
        for (std::int64_t j = 0; j < lines.length; ++j) out[j * out_stride] = Narrow<T>::from(buffer[j]);
      std::swap(above, below);
      line = next;
    }
  }
}

}  // namespace captum_proto
