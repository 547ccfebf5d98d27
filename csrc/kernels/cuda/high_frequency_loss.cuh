// ops.high_frequency_loss: mean |difference|^power of vertical and of horizontal neighbors, per image, and its gradient.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <type_traits>

#include "block_sum.cuh"
#include "layout.cuh"
#include "scratch.cuh"
#include "vectors.cuh"

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

/// Whether lines can be walked in vectors of 16 bytes: each is made of whole ones that begin at multiples of 16 bytes.
template <typename T>
bool lies_in_vectors(const T* images, const Lines& lines, const Strides& strides) {
  return strides.step == 1 && is_aligned(images) && is_of_vectors<T>(lines.length) && is_of_vectors<T>(strides.image) &&
         is_of_vectors<T>(strides.plane) && is_of_vectors<T>(strides.line);
}

/// A warp's vectors of a line, one a lane, in float or double; zeros where the line has ended.
template <typename T>
struct LineVectors {
  static constexpr int kSize = kVector<T>;
  Wide<T> values[kSize];

  __device__ __forceinline__ void read(const T* place, bool there) {
    T narrow_values[kSize] = {};
    if (there) read_vector(place, narrow_values);
#pragma unroll
    for (int e = 0; e < kSize; ++e) values[e] = widen(narrow_values[e]);
  }
};

/// The kHop values after a lane's own vector, which begins at place i of its line: the next lane's, or after the last lane's,
/// memory's. The warp's lanes call it together.
template <int kHop, typename T>
__device__ __forceinline__ void read_after(const LineVectors<T>& own, const T* pixels, int32_t i, int32_t length,
                                           Wide<T> (&after)[kHop]) {
#pragma unroll
  for (int h = 0; h < kHop; ++h) {
    after[h] = __shfl_down_sync(kAllLanes, own.values[h], 1);
    const int32_t place = i + LineVectors<T>::kSize + h;
    if (lane_of_thread() == kWarp - 1 && place < length) after[h] = widen(pixels[place]);
  }
}

/// The kHop values before it, where there are any.
template <int kHop, typename T>
__device__ __forceinline__ void read_before(const LineVectors<T>& own, const T* pixels, int32_t i, int32_t length,
                                            Wide<T> (&before)[kHop]) {
#pragma unroll
  for (int h = 0; h < kHop; ++h) {
    before[h] = __shfl_up_sync(kAllLanes, own.values[LineVectors<T>::kSize - kHop + h], 1);
    if (lane_of_thread() == 0 && i > 0 && i < length) before[h] = widen(pixels[i - kHop + h]);
  }
}

/// Calls choose(hop) with a horizontal neighbor's distance as a constant, where there are kernels of vectors for it: pixels side by
/// side, and pixels of three and of four channels.
template <typename T, class Choose>
void with_hop(int64_t hop, const Choose& choose) {
  if (hop == 1) choose(std::integral_constant<int, 1>{});
  if constexpr (kVector<T> >= 4) {
    if (hop == 3) choose(std::integral_constant<int, 3>{});
    if (hop == 4) choose(std::integral_constant<int, 4>{});
  }
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

/// What a warp's lanes hand one another: the terms of its vectors, by their places.
template <typename T>
struct alignas(16) SharedTerms {
  static constexpr int kCount = kWarp * kVector<T>;
  Wide<T> vertical[kCount], horizontal[kCount];

  static __device__ __forceinline__ void put(Wide<T>* terms, const Wide<T> (&own)[kVector<T>]) {
    constexpr int kTogether = kVector<Wide<T>>;
#pragma unroll
    for (int e = 0; e < kVector<T>; e += kTogether) {
      Wide<T> part[kTogether];
#pragma unroll
      for (int k = 0; k < kTogether; ++k) part[k] = own[e + k];
      write_vector(terms + lane_of_thread() * kVector<T> + e, part);
    }
  }
};

/// At least so many blocks of vectors on a multiprocessor; where the compiler is not told, it spills registers for the sake of
/// more.
constexpr int kVectorBlocks = 2;

/// As sum_differences(), to the last bit, of lines that lie in vectors. What a lane reads at once are neighbors; what it adds are
/// the terms of every 32nd pixel, as there: terms of zero, where there is no neighbor, change no sum.
template <int kHop, typename T>
__global__ void __launch_bounds__(kBlockThreads, kVectorBlocks)
    sum_differences_in_vectors(const T* __restrict__ images, Lines lines, Strides strides, int64_t count, int power,
                               double* __restrict__ partials) {
  constexpr int kSize = kVector<T>;
  using Terms = SharedTerms<T>[kBlockThreads / kWarp];
  CAPTUM_PROTO_SHARED(Terms, shared);
  SharedTerms<T>& terms = shared[warp_of_thread()];
  const int32_t length = static_cast<int32_t>(lines.length);
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
      for (int32_t first = 0; first < length; first += kWarp * kSize) {
        const int32_t i = first + lane_of_thread() * kSize;
        LineVectors<T> here, below;
        here.read(pixels + i, i < length);
        below.read(pixels + strides.line + i, has_below && i < length);
        Wide<T> after[kHop];
        read_after<kHop>(here, pixels, i, length, after);
        Wide<T> down[kSize], right[kSize];
#pragma unroll
        for (int e = 0; e < kSize; ++e) {
          down[e] = has_below ? magnitude(below.values[e] - here.values[e], power) : Wide<T>(0);
          const Wide<T> neighbor = e + kHop < kSize ? here.values[(e + kHop) % kSize] : after[(e + kHop) % kSize % kHop];
          right[e] = i + e + kHop < length ? magnitude(neighbor - here.values[e], power) : Wide<T>(0);
        }
        __syncwarp();  // the terms before have been read
        SharedTerms<T>::put(terms.vertical, down);
        SharedTerms<T>::put(terms.horizontal, right);
        __syncwarp();
#pragma unroll
        for (int k = 0; k < kSize; ++k) {
          vertical += terms.vertical[k * kWarp + lane_of_thread()];
          horizontal += terms.horizontal[k * kWarp + lane_of_thread()];
        }
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

/// As gather_gradient(), of images and gradients that lie in vectors.
template <int kHop, typename T>
__global__ void __launch_bounds__(kBlockThreads, kVectorBlocks)
    gather_gradient_in_vectors(const Wide<T>* __restrict__ grad_output, int64_t grad_output_stride, const T* __restrict__ images,
                               Lines lines, Strides strides, int64_t count, int64_t vertical_pairs, int64_t horizontal_pairs,
                               int power, Strides gradient_strides, T* __restrict__ gradient) {
  constexpr int kSize = kVector<T>;
  const int32_t length = static_cast<int32_t>(lines.length);
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
    for (int32_t first = 0; first < length; first += kWarp * kSize) {
      const int32_t i = first + lane_of_thread() * kSize;
      const bool there = i < length;
      LineVectors<T> above, here, below;
      here.read(pixels + i, there);
      above.read(pixels - strides.line + i, there && has_above);
      below.read(pixels + strides.line + i, there && has_below);
      Wide<T> before[kHop], after[kHop];
      read_before<kHop>(here, pixels, i, length, before);
      read_after<kHop>(here, pixels, i, length, after);
      if (!there) continue;
      T sums[kSize];
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        const Wide<T> own = here.values[e];
        const Wide<T> left = e >= kHop ? here.values[(e + kSize - kHop) % kSize] : before[e % kHop];
        const Wide<T> right = e + kHop < kSize ? here.values[(e + kHop) % kSize] : after[(e + kHop) % kSize % kHop];
        Wide<T> sum = 0;
        if (has_above) sum += slope(own - above.values[e], power, vertical);
        if (has_below) sum -= slope(below.values[e] - own, power, vertical);
        if (i + e >= kHop) sum += slope(own - left, power, horizontal);
        if (i + e + kHop < length) sum -= slope(right - own, power, horizontal);
        sums[e] = narrow<T>(sum);
      }
      write_vector(out + i, sums);
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
  const bool near = fits_32_bits(lines, strides, farthest);
  auto kernel = near ? sum_differences<T, int32_t> : sum_differences<T, int64_t>;
  if (near && lies_in_vectors(images, lines, strides)) {
    with_hop<T>(lines.hop, [&](auto hop) { kernel = sum_differences_in_vectors<decltype(hop)::value, T>; });
  }
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
  auto kernel = near ? gather_gradient<T, int32_t> : gather_gradient<T, int64_t>;
  if (near && lies_in_vectors(images, lines, strides) && lies_in_vectors<T>(gradient, lines, gradient_strides)) {
    with_hop<T>(lines.hop, [&](auto hop) { kernel = gather_gradient_in_vectors<decltype(hop)::value, T>; });
  }
  launch("gathering the gradient", kernel, grid_for(ceil_div(all_lines, kBlockThreads / kWarp)), kBlockThreads, 0, stream,
         grad_output, grad_output_stride, images, lines, strides, layout.images, layout.vertical_pairs(), layout.horizontal_pairs(),
         power, gradient_strides, gradient);
}

}  // namespace captum_proto::cuda
