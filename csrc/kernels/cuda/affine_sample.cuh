// ops.affine_sample: bilinear samples of images under an affine map, scaled and shifted channel by channel.
#pragma once

#include "affine_map.cuh"

namespace captum_proto::cuda {

/// Pixels that a block samples at a time.
constexpr int kSampledTogether = 4 * kBlockThreads;

/// At least so many blocks on a multiprocessor; where the compiler is not told, it spills registers for the sake of more.
constexpr int kSamplingBlocks = 2;

/// samples = sample of ((images - fill) * scale), plus shift. A thread writes one pixel of all channels at a time.
template <Border border, typename T>
__global__ void __launch_bounds__(kBlockThreads, kSamplingBlocks)
    sample_pixels(const T* __restrict__ images, Layout layout, Matrices matrices, ChannelValues<T> scale, ChannelValues<T> shift,
                  T fill, Layout sample_layout, T* __restrict__ samples) {
  CAPTUM_PROTO_SHARED(Stretch, stretch);
  const int height = static_cast<int>(layout.height), width = static_cast<int>(layout.width);
  const int64_t stretches = Stretch::count(layout, kSampledTogether, 1);
  for (int64_t number = blockIdx.x; number < stretches; number += gridDim.x) {
    if (threadIdx.x == 0) stretch.start(number, kSampledTogether, 1, layout, matrices);
    __syncthreads();
    const AffineMap& map = stretch.map;
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < kSampledTogether && i < stretch.pixels; i += kBlockThreads) {
      const Pixel pixel(stretch, i, width);
      const double x = inside<border>(map.x.at(map.x.start_of(pixel.row), pixel.column), width);
      const double y = inside<border>(map.y.at(map.y.start_of(pixel.row), pixel.column), height);
      T* out = samples + stretch.image * sample_layout.image_stride + pixel.row * sample_layout.height_stride +
               pixel.column * sample_layout.width_stride;
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
          stretch.image * layout.image_stride + vertical.first * layout.height_stride + horizontal.first * layout.width_stride;
#pragma unroll 1
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
    __syncthreads();  // before the next stretch starts
  }
}

/// samples (N, C, H, W), of any strides.
template <Border border, typename T>
void affine_sample(const T* images, const Layout& layout, const Matrices& matrices, const ChannelValues<T>& scale,
                   const ChannelValues<T>& shift, double fill, const Layout& sample_layout, T* samples, cudaStream_t stream) {
  if (layout.channels == 0) return;
  launch("sampling", sample_pixels<border, T>, grid_for(Stretch::count(layout, kSampledTogether, 1)), kBlockThreads, 0, stream,
         images, layout, matrices, scale, shift, static_cast<T>(fill), sample_layout, samples);
}

}  // namespace captum_proto::cuda
