// ops.high_frequency_loss: mean |difference|^power of vertical and of horizontal neighbors, per image, and its gradient.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "block_sum.cuh"
#include "layout.cuh"
#include "scratch.cuh"
#include "values.cuh"

namespace captum_proto::cuda {

constexpr int kLinesPerBlock = 32;

/// How images are walked: line by line. A pixel's horizontal neighbor is `hop` steps further along its line, its vertical
/// neighbor lies at the same place of the next line of its plane.
struct Lines {
  int64_t planes;
  int64_t heights;
  int64_t length;
  int64_t hop;
};

struct Strides {
  int64_t image;
  int64_t plane;
  int64_t line;
  int64_t step;
};

inline Lines lines_of(const Layout& layout, bool together) {
  return together ? Lines{1, layout.height, layout.width * layout.channels, layout.channels}
                  : Lines{layout.channels, layout.height, layout.width, 1};
}

inline Strides strides_of(const Layout& layout, bool together) {
  return together ? Strides{layout.image_stride, 0, layout.height_stride, 1}
                  : Strides{layout.image_stride, layout.channel_stride, layout.height_stride, layout.width_stride};
}

/// Steps along a line and to the next one, in 32 bits where they fit: these are most of the kernels' arithmetic.
template <typename Index>
struct LineSteps {
  Index length, hop, step, line;

  __host__ __device__ LineSteps(const Lines& lines, const Strides& strides)
      : length(static_cast<Index>(lines.length)),
        hop(static_cast<Index>(lines.hop)),
        step(static_cast<Index>(strides.step)),
        line(static_cast<Index>(strides.line)) {}
};

/// Distances within a line and to its neighbors that are counted in 32 bits are below this.
constexpr int64_t kFarthestIn32Bits = int64_t{1} << 30;

inline bool fits_32_bits(const Lines& lines, const Strides& strides, int64_t farthest) {
  return (lines.length + kWarp) * std::max<int64_t>(1, std::abs(strides.step)) < farthest && std::abs(strides.line) < farthest;
}

template <typename T>
__device__ __forceinline__ T magnitude(T difference, int power) {
  if (power == 2) return difference * difference;
  return difference < T(0) ? -difference : difference;
}

/// partials[2 i], partials[2 i + 1] = vertical and horizontal sum over the i-th stretch of kLinesPerBlock lines.
template <typename T, typename Index>
__global__ void __launch_bounds__(kBlockThreads) sum_differences(const T* __restrict__ images, Lines lines, Strides strides,
                                                                 int64_t count, int power, double* __restrict__ partials) {
  const LineSteps<Index> steps(lines, strides);
  const int64_t lines_per_image = lines.planes * lines.heights;
  const int64_t stretches = ceil_div(lines_per_image, kLinesPerBlock);
  for (int64_t task = blockIdx.x; task < count * stretches; task += gridDim.x) {
    const T* image = images + task / stretches * strides.image;
    const int64_t begin = task % stretches * kLinesPerBlock;
    const int64_t end = lines_per_image - begin < kLinesPerBlock ? lines_per_image : begin + kLinesPerBlock;
    double vertical = 0;
    double horizontal = 0;
    for (int64_t line = begin + warp_of_thread(); line < end; line += warps_of_block()) {
      const int64_t height = line % lines.heights;
      const bool has_below = height + 1 < lines.heights;
      const T* pixels = image + line / lines.heights * strides.plane + height * strides.line;
      for (Index i = lane_of_thread(); i < steps.length; i += kWarp) {
        const T* pixel = pixels + i * steps.step;
        const Wide<T> here = widen(*pixel);
        if (has_below) vertical += magnitude(widen(pixel[steps.line]) - here, power);
        if (i + steps.hop < steps.length) horizontal += magnitude(widen(pixel[steps.hop * steps.step]) - here, power);
      }
    }
    vertical = block_sum(vertical);
    horizontal = block_sum(horizontal);
    if (threadIdx.x == 0) {
      partials[2 * task] = vertical;
      partials[2 * task + 1] = horizontal;
    }
  }
}

/// loss (count) = vertical mean + horizontal mean. A warp adds one image's partial sums.
template <typename Loss>
__global__ void __launch_bounds__(kBlockThreads) mean_differences(const double* partials, int64_t count, int64_t stretches,
                                                                  int64_t vertical_pairs, int64_t horizontal_pairs, Loss* loss) {
  const int64_t warps = int64_t{gridDim.x} * warps_of_block();
  for (int64_t image = int64_t{blockIdx.x} * warps_of_block() + warp_of_thread(); image < count; image += warps) {
    double vertical = 0;
    double horizontal = 0;
    for (int64_t i = lane_of_thread(); i < stretches; i += kWarp) {
      vertical += partials[2 * (image * stretches + i)];
      horizontal += partials[2 * (image * stretches + i) + 1];
    }
    vertical = warp_sum(vertical);
    horizontal = warp_sum(horizontal);
    if (lane_of_thread() == 0) {
      Loss sum = 0;
      if (vertical_pairs > 0) sum += static_cast<Loss>(vertical / static_cast<double>(vertical_pairs));
      if (horizontal_pairs > 0) sum += static_cast<Loss>(horizontal / static_cast<double>(horizontal_pairs));
      loss[image] = sum;
    }
  }
}

/// The derivative of |difference|^power by the difference, times `scale`; 0 where |difference| has none.
template <typename T>
__device__ __forceinline__ T slope(T difference, int power, T scale) {
  const T derivative = power == 2 ? T(2) * difference : static_cast<T>((difference > T(0) ? 1 : 0) - (difference < T(0) ? 1 : 0));
  return multiply(derivative, scale);  // never fused with the addition that follows, so that every build rounds alike
}

/// gradient = every pixel's own few terms, gathered. A warp writes one line.
template <typename T, typename Index>
__global__ void __launch_bounds__(kBlockThreads)
    gather_gradient(const Wide<T>* __restrict__ grad_output, int64_t grad_output_stride, const T* __restrict__ images, Lines lines,
                    Strides strides, int64_t count, int64_t vertical_pairs, int64_t horizontal_pairs, int power,
                    Strides gradient_strides, T* __restrict__ gradient) {
  const LineSteps<Index> steps(lines, strides);
  const Index gradient_step = static_cast<Index>(gradient_strides.step);
  const int64_t warps = int64_t{gridDim.x} * warps_of_block();
  const int64_t all_lines = count * lines.planes * lines.heights;
  for (int64_t line = int64_t{blockIdx.x} * warps_of_block() + warp_of_thread(); line < all_lines; line += warps) {
    const int64_t height = line % lines.heights;
    const int64_t plane = line / lines.heights % lines.planes;
    const int64_t image = line / lines.heights / lines.planes;
    const bool has_above = height > 0;
    const bool has_below = height + 1 < lines.heights;
    const Wide<T> scale = grad_output[image * grad_output_stride];
    const Wide<T> vertical = vertical_pairs > 0 ? scale / static_cast<Wide<T>>(vertical_pairs) : Wide<T>(0);
    const Wide<T> horizontal = horizontal_pairs > 0 ? scale / static_cast<Wide<T>>(horizontal_pairs) : Wide<T>(0);
    const T* pixels = images + image * strides.image + plane * strides.plane + height * strides.line;
    T* out = gradient + image * gradient_strides.image + plane * gradient_strides.plane + height * gradient_strides.line;
    for (Index i = lane_of_thread(); i < steps.length; i += kWarp) {
      const T* pixel = pixels + i * steps.step;
      const Wide<T> here = widen(*pixel);
      Wide<T> sum = 0;
      if (has_above) sum += slope(here - widen(*(pixel - steps.line)), power, vertical);
      if (has_below) sum -= slope(widen(pixel[steps.line]) - here, power, vertical);
      if (i >= steps.hop) sum += slope(here - widen(*(pixel - steps.hop * steps.step)), power, horizontal);
      if (i + steps.hop < steps.length) sum -= slope(widen(pixel[steps.hop * steps.step]) - here, power, horizontal);
      out[i * gradient_step] = narrow<T>(sum);
    }
  }
}

/// loss (N) of images (N, C, H, W).
template <typename T>
void high_frequency_loss(const T* images, const Layout& layout, int power, Wide<T>* loss, Scratch& scratch, cudaStream_t stream,
                         int64_t farthest = kFarthestIn32Bits) {
  if (layout.images == 0) return;
  const bool together = layout.channels_innermost();
  const Lines lines = lines_of(layout, together);
  const int64_t stretches = ceil_div(lines.planes * lines.heights, kLinesPerBlock);
  double* partials = scratch.allocate<double>(2 * layout.images * stretches);
  const Strides strides = strides_of(layout, together);
  const auto kernel = fits_32_bits(lines, strides, farthest) ? sum_differences<T, int32_t> : sum_differences<T, int64_t>;
  launch("summing differences", kernel, grid_for(layout.images * stretches), kBlockThreads, 0, stream, images, lines, strides,
         layout.images, power, partials);
  launch("averaging differences", mean_differences<Wide<T>>, grid_for(ceil_div(layout.images, kBlockThreads / kWarp)),
         kBlockThreads, 0, stream, partials, layout.images, stretches, layout.vertical_pairs(), layout.horizontal_pairs(), loss);
}

/// gradient (N, C, H, W), of any strides, by images, given the gradient by the loss.
template <typename T>
void high_frequency_loss_backward(const Wide<T>* grad_output, int64_t grad_output_stride, const T* images, const Layout& layout,
                                  int power, const Layout& gradient_layout, T* gradient, cudaStream_t stream,
                                  int64_t farthest = kFarthestIn32Bits) {
  const bool together = layout.channels_innermost() && gradient_layout.channels_innermost();
  const Lines lines = lines_of(layout, together);
  const int64_t all_lines = layout.images * lines.planes * lines.heights;
  const Strides strides = strides_of(layout, together), gradient_strides = strides_of(gradient_layout, together);
  const bool near = fits_32_bits(lines, strides, farthest) && fits_32_bits(lines, gradient_strides, farthest);
  const auto kernel = near ? gather_gradient<T, int32_t> : gather_gradient<T, int64_t>;
  launch("gathering the gradient", kernel, grid_for(ceil_div(all_lines, kBlockThreads / kWarp)), kBlockThreads, 0, stream,
         grad_output, grad_output_stride, images, lines, strides, layout.images, layout.vertical_pairs(), layout.horizontal_pairs(),
         power, gradient_strides, gradient);
}

}  // namespace captum_proto::cuda
