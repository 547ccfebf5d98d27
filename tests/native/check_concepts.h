// The CPU's kernels on concepts against naive implementations, for cpu_kernels.cpp.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/concept_counts.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/packed_counts.h"

namespace concepts {

using namespace captum_proto;
using Expect = std::function<void(bool, const std::string&)>;

/// Where pixel `i` of an axis lies between two of its `size` places.
struct Place {
  std::int64_t low, high;
  double share;
};

inline Place place_of(std::int64_t i, std::int64_t size, std::int64_t pixels, bool align_corners) {
  double place;
  if (align_corners) {
    place = pixels > 1 ? static_cast<double>(size - 1) / static_cast<double>(pixels - 1) * static_cast<double>(i) : 0.0;
  } else {
    place = std::max(static_cast<double>(size) / static_cast<double>(pixels) * (static_cast<double>(i) + 0.5) - 0.5, 0.0);
  }
  const std::int64_t low = std::min(static_cast<std::int64_t>(place), size - 1);
  return Place{low, std::min(low + 1, size - 1), place - static_cast<double>(low)};
}

template <class T, class Random>
void check_counts(Random& random, const Expect& expect) {
  std::normal_distribution<double> normal;
  for (const auto& shape : std::vector<std::array<std::int64_t, 7>>{{2, 3, 7, 7, 28, 28, 2},
                                                                    {1, 2, 5, 4, 13, 9, 1},
                                                                    {3, 1, 1, 1, 6, 6, 1},
                                                                    {2, 2, 9, 8, 4, 5, 3},
                                                                    {1, 4, 3, 3, 10, 10, 0},
                                                                    {1, 1, 1, 6, 1, 24, 1}}) {
    const std::int64_t images = shape[0], units = shape[1], height = shape[2], width = shape[3], tall = shape[4], wide = shape[5],
                       number = shape[6];  // names that lambdas may hold
    for (const bool align_corners : {false, true}) {
      for (const bool channels_last : {false, true}) {
        constexpr std::int64_t kConcepts = 5;
        std::vector<T> values(static_cast<std::size_t>(images * units * height * width));
        for (T& value : values) value = static_cast<T>(normal(random));
        if (!values.empty()) values[values.size() / 2] = static_cast<T>(NAN);
        std::vector<std::int16_t> labels(static_cast<std::size_t>(images * number * tall * wide));
        for (std::int16_t& label : labels) label = static_cast<std::int16_t>(random() % kConcepts);
        std::vector<double> thresholds(static_cast<std::size_t>(units), 0.7);
        const std::int64_t unit_stride = channels_last ? 1 : height * width;
        const std::int64_t place_stride = channels_last ? units : 1;
        const ActivationMaps<T> maps{values.data(),        images,      units, height, width, units * height * width, unit_stride,
                                     width * place_stride, place_stride};
        const LabelMaps of_images{labels.data(), number, tall, wide, kConcepts};
        const Enlarged enlarged{EnlargedAxis(height, tall, align_corners), EnlargedAxis(width, wide, align_corners)};
        std::vector<std::int64_t> counts(static_cast<std::size_t>(units * kConcepts), 1),
            hits(static_cast<std::size_t>(images * units));
        run<&concept_counts_units<T>>(maps, static_cast<const double*>(thresholds.data()), of_images, &enlarged, counts.data(),
                                      hits.data(), std::int64_t{0}, units);
        std::vector<std::int64_t> expected(counts.size(), 1), fired(hits.size(), 0);
        for (std::int64_t image = 0; image < images; ++image) {
          for (std::int64_t unit = 0; unit < units; ++unit) {
            const auto at = [&](std::int64_t y, std::int64_t x) {
              return static_cast<double>(values[static_cast<std::size_t>(image * maps.image_stride + unit * unit_stride +
                                                                         (y * width + x) * place_stride)]);
            };
            for (std::int64_t row = 0; row < tall; ++row) {
              for (std::int64_t column = 0; column < wide; ++column) {
                const Place y = place_of(row, height, tall, align_corners), x = place_of(column, width, wide, align_corners);
                const double a = at(y.low, x.low), b = at(y.low, x.high), c = at(y.high, x.low), d = at(y.high, x.high);
                const double left = a + (c - a) * y.share, right = b + (d - b) * y.share;
                const bool any = a > 0.7 || b > 0.7 || c > 0.7 || d > 0.7;
                if (!any || !(left + (right - left) * x.share > 0.7)) continue;
                ++fired[static_cast<std::size_t>(image * units + unit)];
                for (std::int64_t map = 0; map < number; ++map) {
                  const std::int16_t label =
                      labels[static_cast<std::size_t>(((image * number + map) * tall + row) * wide + column)];
                  ++expected[static_cast<std::size_t>(unit * kConcepts + label)];
                }
              }
            }
          }
        }
        expect(counts == expected, "counts of concepts");
        expect(hits == fired, "hits of units");
      }
    }
  }
}

template <class Random>
void check_packed(Random& random, const Expect& expect) {
  for (const auto& [p, q, words] :
       std::vector<std::array<std::int64_t, 3>>{{3, 5, 7}, {1, 1, 1}, {4, 33, 196}, {2, 3, 0}, {0, 2, 3}}) {
    std::vector<std::int64_t> a(static_cast<std::size_t>(p * (words + 1))), b(static_cast<std::size_t>(q * words));
    for (auto* masks : {&a, &b})
      for (std::int64_t& word : *masks) word = static_cast<std::int64_t>(random());
    std::vector<std::int64_t> counts(static_cast<std::size_t>(p * q), -1);
    run_packed_counts(PackedRows{a.data(), p, words, words + 1}, PackedRows{b.data(), q, words, words}, counts.data(), 0, p);
    for (std::int64_t i = 0; i < p; ++i) {
      for (std::int64_t j = 0; j < q; ++j) {
        std::int64_t common = 0;
        for (std::int64_t word = 0; word < words; ++word)
          for (int bit = 0; bit < 64; ++bit)
            common += (a[static_cast<std::size_t>(i * (words + 1) + word)] >> bit & 1) &
                      (b[static_cast<std::size_t>(j * words + word)] >> bit & 1);
        expect(counts[static_cast<std::size_t>(i * q + j)] == common, "common bits");
      }
    }
  }
}

}  // namespace concepts
