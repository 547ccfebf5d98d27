// On which pixels of an image each unit fires, and with which labels: maps are enlarged, compared with a threshold and counted in
// one pass over the places that fire, and no mask is ever written.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace captum_proto {

/// Maps (images, units, height, width) with any strides.
template <class T>
struct ActivationMaps {
  const T* data;
  std::int64_t images, units, height, width;
  std::int64_t image_stride, unit_stride, height_stride, width_stride;
};

/// Labels (images, maps, height, width), contiguous; each is below `concepts`, and 0 is none.
struct LabelMaps {
  const std::int16_t* data;
  std::int64_t maps, height, width;
  std::int64_t concepts;
};

/// How one axis is enlarged: pixel i lies between the places before[i] and after[i], `share[i]` of the way.
struct EnlargedAxis {
  std::vector<std::int64_t> before, after;
  std::vector<double> share;
  /// (size + 1,): the pixels whose place before is p are first[p] to first[p + 1].
  std::vector<std::int64_t> first;

  EnlargedAxis(std::int64_t size, std::int64_t pixels, bool align_corners)
      : before(static_cast<std::size_t>(pixels)),
        after(static_cast<std::size_t>(pixels)),
        share(static_cast<std::size_t>(pixels)),
        first(static_cast<std::size_t>(size) + 1, pixels) {
    const double scale = align_corners ? (pixels > 1 ? static_cast<double>(size - 1) / static_cast<double>(pixels - 1) : 0.0)
                                       : static_cast<double>(size) / static_cast<double>(pixels);
    std::int64_t begun = 0;
    for (std::int64_t i = 0; i < pixels; ++i) {
      const double aligned = scale * static_cast<double>(i);
      const double centered = scale * (static_cast<double>(i) + 0.5) - 0.5;
      const double place = align_corners ? aligned : std::max(centered, 0.0);
      const std::int64_t low = std::min(static_cast<std::int64_t>(place), size - 1);
      const auto at = static_cast<std::size_t>(i);
      before[at] = low;
      after[at] = std::min(low + 1, size - 1);
      share[at] = place - static_cast<double>(low);
      for (; begun <= low; ++begun) first[static_cast<std::size_t>(begun)] = i;
    }
  }
};

struct Enlarged {
  EnlargedAxis rows, columns;
};

/// The greatest number of type T that is not above `threshold`: what is above the one is above the other. NaN stays NaN.
template <class T>
T limit_of(double threshold) {
  T limit = static_cast<T>(threshold);
  if (static_cast<double>(limit) > threshold) limit = std::nextafter(limit, -std::numeric_limits<T>::infinity());
  return limit;
}

/// Whether any of `count` values, `stride` apart, is above a limit: a loop that compilers turn into one over vectors.
template <class T>
bool any_above(const T* values, std::int64_t count, std::int64_t stride, T limit) {
  int found = 0;
  if (stride == 1) {
    for (std::int64_t i = 0; i < count; ++i) found |= static_cast<int>(values[i] > limit);
  } else {
    for (std::int64_t i = 0; i < count; ++i) found |= static_cast<int>(values[i * stride] > limit);
  }
  return found != 0;
}

/// Pixels [begin, end) of a row.
struct PixelRange {
  std::int64_t begin, end;
};

/// Adds how often each label is at some pixels of a row: neighbors mostly have the same, and are added together.
inline void count_labels(const std::int16_t* labels, PixelRange pixels, std::int64_t* counts) {
  for (std::int64_t i = pixels.begin; i < pixels.end;) {
    const std::int16_t label = labels[i];
    const std::int64_t from = i;
    do ++i;
    while (i < pixels.end && labels[i] == label);
    counts[label] += i - from;
  }
}

/// The pixels of [begin, end) at which from + step * share is above a threshold. Shares rise from pixel to pixel and rounding keeps
/// order, so that they are the last ones where it rises and the first ones where it falls.
inline PixelRange above_in_cell(double from, double step, const double* share, double threshold, std::int64_t begin,
                                std::int64_t end) {
  const auto fires = [&](std::int64_t pixel) { return from + step * share[pixel] > threshold; };
  if (step >= 0) {
    std::int64_t first = end;
    while (first > begin && fires(first - 1)) --first;
    return {first, end};
  }
  std::int64_t last = begin;
  while (last < end && fires(last)) ++last;
  return {begin, last};
}

/// Adds to counts (units, concepts) the firing pixels of each label, and writes hits (images, units), of the units [begin, end).
template <class T>
void concept_counts_units(ActivationMaps<T> maps, const double* thresholds, LabelMaps labels, const Enlarged* enlarged,
                          std::int64_t* counts, std::int64_t* hits, std::int64_t begin, std::int64_t end) {
  const std::int64_t height = maps.height, width = maps.width;
  const auto columns_of_map = static_cast<std::size_t>(width), cells = static_cast<std::size_t>(height * width);
  std::vector<double> values(cells);
  std::vector<unsigned char> above(cells), row_above(static_cast<std::size_t>(height)), row_read(static_cast<std::size_t>(height));
  std::vector<PixelRange> columns_above(static_cast<std::size_t>(height)), fired(columns_of_map);
  const EnlargedAxis &rows = enlarged->rows, &columns = enlarged->columns;
  for (std::int64_t unit = begin; unit < end; ++unit) {
    const double threshold = thresholds[unit];
    const T limit = limit_of<T>(threshold);
    std::int64_t* of_unit = counts + unit * labels.concepts;
    for (std::int64_t image = 0; image < maps.images; ++image) {
      const T* map = maps.data + image * maps.image_stride + unit * maps.unit_stride;
      bool any = false;
      for (std::int64_t y = 0; y < height; ++y) {
        const bool in_row = any_above(map + y * maps.height_stride, width, maps.width_stride, limit);
        row_above[static_cast<std::size_t>(y)] = static_cast<unsigned char>(in_row);
        any = any || in_row;
      }
      std::int64_t total = 0;
      if (any) std::fill(row_read.begin(), row_read.end(), static_cast<unsigned char>(0));
      // Rows are read where they are needed: of most images a unit fires at a few places, if at any.
      const auto read_row = [&](std::size_t y) {
        if (row_read[y] != 0) return;
        row_read[y] = 1;
        const T* from = map + static_cast<std::int64_t>(y) * maps.height_stride;
        PixelRange& within = columns_above[y];
        within = {width, 0};
        for (std::size_t x = 0; x < columns_of_map; ++x) {
          const std::size_t cell = y * columns_of_map + x;
          values[cell] = static_cast<double>(from[static_cast<std::int64_t>(x) * maps.width_stride]);
          above[cell] = values[cell] > threshold;
          if (above[cell] == 0) continue;
          within.begin = std::min(within.begin, static_cast<std::int64_t>(x));
          within.end = static_cast<std::int64_t>(x) + 1;
        }
      };
      for (std::int64_t row = 0; any && row < labels.height; ++row) {
        const auto at = static_cast<std::size_t>(row);
        const auto upper = static_cast<std::size_t>(rows.before[at]), lower = static_cast<std::size_t>(rows.after[at]);
        if ((row_above[upper] | row_above[lower]) == 0) continue;
        read_row(upper);
        read_row(lower);
        const double* a = values.data() + upper * columns_of_map;
        const double* b = values.data() + lower * columns_of_map;
        const unsigned char* above_a = above.data() + upper * columns_of_map;
        const unsigned char* above_b = above.data() + lower * columns_of_map;
        const double down = rows.share[at];
        // A pixel can fire only where one of the four places around it does: most are passed over, a cell at a time.
        std::size_t count = 0;
        const std::int64_t first = std::max<std::int64_t>(std::min(columns_above[upper].begin, columns_above[lower].begin) - 1, 0);
        const std::int64_t end_of_cells = std::max(columns_above[upper].end, columns_above[lower].end);
        for (auto x = static_cast<std::size_t>(first); x < static_cast<std::size_t>(end_of_cells); ++x) {
          const std::size_t right = std::min(x + 1, columns_of_map - 1);
          if ((above_a[x] | above_b[x] | above_a[right] | above_b[right]) == 0) continue;
          const double from = a[x] + (b[x] - a[x]) * down, step = a[right] + (b[right] - a[right]) * down - from;
          const PixelRange cell =
              above_in_cell(from, step, columns.share.data(), threshold, columns.first[x], columns.first[x + 1]);
          if (cell.begin == cell.end) continue;
          total += cell.end - cell.begin;
          if (count > 0 && fired[count - 1].end == cell.begin) {
            fired[count - 1].end = cell.end;
          } else {
            fired[count++] = cell;
          }
        }
        for (std::int64_t map_number = 0; count > 0 && map_number < labels.maps; ++map_number) {
          const std::int16_t* of_row = labels.data + ((image * labels.maps + map_number) * labels.height + row) * labels.width;
          for (std::size_t i = 0; i < count; ++i) count_labels(of_row, fired[i], of_unit);
        }
      }
      hits[image * maps.units + unit] = total;
    }
  }
}

}  // namespace captum_proto
