// On which pixels of an image each unit fires, and with which labels: maps are enlarged, compared with a threshold and counted in
// one pass over the places that fire, and no mask is ever written.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
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

/// Adds to counts (units, concepts) the firing pixels of each label, and writes hits (images, units), of the units [begin, end).
template <class T>
void concept_counts_units(ActivationMaps<T> maps, const double* thresholds, LabelMaps labels, const Enlarged* enlarged,
                          std::int64_t* counts, std::int64_t* hits, std::int64_t begin, std::int64_t end) {
  const std::int64_t height = maps.height, width = maps.width;
  const auto cells = static_cast<std::size_t>(height * width);
  std::vector<double> values(cells), line(static_cast<std::size_t>(width));
  std::vector<unsigned char> above(cells), row_above(static_cast<std::size_t>(height)),
      column_above(static_cast<std::size_t>(width));
  std::vector<std::int64_t> fired(static_cast<std::size_t>(labels.width));
  const EnlargedAxis &rows = enlarged->rows, &columns = enlarged->columns;
  for (std::int64_t unit = begin; unit < end; ++unit) {
    const double threshold = thresholds[unit];
    std::int64_t* of_unit = counts + unit * labels.concepts;
    for (std::int64_t image = 0; image < maps.images; ++image) {
      const T* map = maps.data + image * maps.image_stride + unit * maps.unit_stride;
      bool any = false;
      for (std::int64_t y = 0; y < height; ++y) {
        unsigned char in_row = 0;
        for (std::int64_t x = 0; x < width; ++x) {
          const auto cell = static_cast<std::size_t>(y * width + x);
          values[cell] = static_cast<double>(map[y * maps.height_stride + x * maps.width_stride]);
          above[cell] = values[cell] > threshold;
          in_row = static_cast<unsigned char>(in_row | above[cell]);
        }
        row_above[static_cast<std::size_t>(y)] = in_row;
        any = any || in_row != 0;
      }
      std::int64_t total = 0;
      for (std::int64_t row = 0; any && row < labels.height; ++row) {
        const auto at = static_cast<std::size_t>(row);
        const auto upper = static_cast<std::size_t>(rows.before[at]), lower = static_cast<std::size_t>(rows.after[at]);
        if ((row_above[upper] | row_above[lower]) == 0) continue;
        const double* a = values.data() + upper * static_cast<std::size_t>(width);
        const double* b = values.data() + lower * static_cast<std::size_t>(width);
        const unsigned char* above_a = above.data() + upper * static_cast<std::size_t>(width);
        const unsigned char* above_b = above.data() + lower * static_cast<std::size_t>(width);
        for (std::size_t x = 0; x < static_cast<std::size_t>(width); ++x) {
          line[x] = a[x] + (b[x] - a[x]) * rows.share[at];
          column_above[x] = static_cast<unsigned char>(above_a[x] | above_b[x]);
        }
        // A pixel can fire only where one of the four places around it does: most are passed over, a cell at a time.
        std::size_t count = 0;
        for (std::size_t x = 0; x < static_cast<std::size_t>(width); ++x) {
          const std::size_t right = std::min(x + 1, static_cast<std::size_t>(width) - 1);
          const double from = line[x], step = line[right] - from;
          const auto last = static_cast<std::size_t>(columns.first[x + 1]);
          for (auto column = static_cast<std::size_t>(columns.first[x]); column < last; ++column) {
            const std::size_t beside = static_cast<std::size_t>(columns.after[column]);
            if ((column_above[x] | column_above[beside]) == 0) break;
            fired[count] = static_cast<std::int64_t>(column);
            count += from + step * columns.share[column] > threshold ? 1 : 0;
          }
        }
        total += static_cast<std::int64_t>(count);
        for (std::int64_t map_number = 0; map_number < labels.maps; ++map_number) {
          const std::int16_t* label = labels.data + ((image * labels.maps + map_number) * labels.height + row) * labels.width;
          for (std::size_t i = 0; i < count; ++i) ++of_unit[label[fired[i]]];
        }
      }
      hits[image * maps.units + unit] = total;
    }
  }
}

}  // namespace captum_proto
