// On which pixels of an image each unit fires, and with which labels.
#pragma once

#include "block_sum.cuh"
#include "radix_counts.cuh"
#include "values.cuh"

namespace captum_proto::cuda {

/// Maps (images, units, height, width) with any strides.
template <typename T>
struct ActivationMaps {
  const T* data;
  int64_t images, units, height, width;
  int64_t image_stride, unit_stride, height_stride, width_stride;
};

/// Labels (images, maps, height, width), contiguous; each is below `concepts`, and 0 is none.
struct LabelMaps {
  const int16_t* data;
  int64_t maps, height, width;
  int64_t concepts;
};

/// How an axis is enlarged: its pixels are `scale` places apart.
struct EnlargedAxis {
  int64_t size;
  double scale;
  bool align_corners;

  EnlargedAxis(int64_t size_, int64_t pixels, bool align)
      : size(size_),
        scale(align ? (pixels > 1 ? static_cast<double>(size_ - 1) / static_cast<double>(pixels - 1) : 0.0)
                    : static_cast<double>(size_) / static_cast<double>(pixels)),
        align_corners(align) {}
};

/// The places between which a pixel lies, and how far it is on the way.
struct BetweenPlaces {
  int64_t before, after;
  double share;
};

__device__ __forceinline__ BetweenPlaces places_around(const EnlargedAxis& axis, int64_t pixel) {
  const double i = static_cast<double>(pixel);
  const double centered = add(multiply(axis.scale, i + 0.5), -0.5);
  const double place = axis.align_corners ? multiply(axis.scale, i) : (centered > 0.0 ? centered : 0.0);
  const int64_t whole = static_cast<int64_t>(place);
  const int64_t low = whole < axis.size - 1 ? whole : axis.size - 1;
  return BetweenPlaces{low, low + 1 < axis.size - 1 ? low + 1 : axis.size - 1, add(place, -static_cast<double>(low))};
}

__device__ __forceinline__ double on_the_way(double from, double to, double share) {
  return add(from, multiply(add(to, -from), share));
}

/// A block has a unit's map of one image: most have no place above the threshold, and are done.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads)
    count_concepts(ActivationMaps<T> maps, const double* thresholds, LabelMaps labels, EnlargedAxis rows, EnlargedAxis columns,
                   int64_t* counts, int64_t* hits) {
  const int64_t pixels = labels.height * labels.width;
  for (int64_t task = blockIdx.x; task < maps.images * maps.units; task += gridDim.x) {
    const int64_t image = task / maps.units;
    const int64_t unit = task % maps.units;
    const double threshold = thresholds[unit];
    const T* map = maps.data + image * maps.image_stride + unit * maps.unit_stride;
    const auto value = [&](int64_t y, int64_t x) {
      return static_cast<double>(map[y * maps.height_stride + x * maps.width_stride]);
    };
    int above = 0;
    for (int64_t cell = threadIdx.x; cell < maps.height * maps.width; cell += kBlockThreads) {
      above |= value(cell / maps.width, cell % maps.width) > threshold ? 1 : 0;
    }
    CAPTUM_PROTO_SHARED(int, any);
    above = block_sum(above);
    if (threadIdx.x == 0) any = above;
    __syncthreads();
    unsigned long long total = 0;
    for (int64_t pixel = threadIdx.x; any != 0 && pixel < pixels; pixel += kBlockThreads) {
      const BetweenPlaces y = places_around(rows, pixel / labels.width);
      const BetweenPlaces x = places_around(columns, pixel % labels.width);
      const double a = value(y.before, x.before), b = value(y.before, x.after);
      const double c = value(y.after, x.before), d = value(y.after, x.after);
      if (!(a > threshold || b > threshold || c > threshold || d > threshold)) continue;
      if (!(on_the_way(on_the_way(a, c, y.share), on_the_way(b, d, y.share), x.share) > threshold)) continue;
      ++total;
      for (int64_t number = 0; number < labels.maps; ++number) {
        add_count(counts + unit * labels.concepts + labels.data[(image * labels.maps + number) * pixels + pixel], 1);
      }
    }
    total = block_sum(total);
    if (threadIdx.x == 0) hits[task] = static_cast<int64_t>(total);
    __syncthreads();  // before the next task says whether any place is above
  }
}

template <typename T>
void concept_counts(ActivationMaps<T> maps, const double* thresholds, LabelMaps labels, bool align_corners, int64_t* counts,
                    int64_t* hits, cudaStream_t stream) {
  const EnlargedAxis rows(maps.height, labels.height, align_corners), columns(maps.width, labels.width, align_corners);
  launch("counting concepts", count_concepts<T>, grid_for(maps.images * maps.units), kBlockThreads, 0, stream, maps, thresholds,
         labels, rows, columns, counts, hits);
}

}  // namespace captum_proto::cuda
