// ops.affine_sample: bilinear samples of images under an affine map, scaled and shifted channel by channel.
#pragma once

#include "affine_map.cuh"

namespace captum_proto::cuda {

/// Pixels that a block samples at a time.
constexpr int kSampledTogether = 4 * kBlockThreads;

/// At least so many blocks on a multiprocessor; where the compiler is not told, it spills registers for the sake of more.
constexpr int kSamplingBlocks = 2;

/// samples = sample of ((images - fill) * scale), plus shift. A thread writes one pixel of all channels at a time: one channel
/// after the other, or with kVectors 16 bytes of them, of images and samples whose channels lie so.
template <Border border, typename T, typename Index, bool kVectors>
__global__ void __launch_bounds__(kBlockThreads, kSamplingBlocks)
    sample_pixels(const T* __restrict__ images, Layout layout, Matrices matrices, ChannelValues<T> scale, ChannelValues<T> shift,
                  T fill, Layout sample_layout, T* __restrict__ samples) {
  constexpr int kTogether = kVectors ? kVector<T> : 1;
  CAPTUM_PROTO_SHARED(Stretch, stretch);
  const int height = static_cast<int>(layout.height), width = static_cast<int>(layout.width);
  const Index channels = static_cast<Index>(layout.channels);
  const ImageSteps<Index> steps(layout), sample_steps(sample_layout);
  const int64_t stretches = Stretch::count(layout, kSampledTogether, 1);
  for (int64_t number = blockIdx.x; number < stretches; number += gridDim.x) {
    if (threadIdx.x == 0) stretch.start(number, kSampledTogether, 1, layout, matrices);
    __syncthreads();
    const AffineMap& map = stretch.map;
    const T* const image = images + stretch.image * layout.image_stride;
    T* const own_samples = samples + stretch.image * sample_layout.image_stride;
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < kSampledTogether && i < stretch.pixels; i += kBlockThreads) {
      const Pixel pixel(stretch, i, width);
      const double x = inside<border>(map.x.at(map.x.start_of(pixel.row), pixel.column), width);
      const double y = inside<border>(map.y.at(map.y.start_of(pixel.row), pixel.column), height);
      const Index out = pixel.row * sample_steps.height + pixel.column * sample_steps.width;
      const auto write = [&](Index c, const T(&values)[kTogether]) {
        T* const place = own_samples + (out + c * sample_steps.channel);
        if constexpr (kVectors) {
          write_vector(place, values);
        } else {
          *place = values[0];
        }
      };
      if (border == Border::kConstant && !(x >= -1 && x < width && y >= -1 && y < height)) {  // nor where one is NaN
        for (Index c = 0; c < channels; c += kTogether) {
          T values[kTogether];
#pragma unroll
          for (int k = 0; k < kTogether; ++k) values[k] = shift.at(c + k);
          write(c, values);
        }
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
      const Index place = vertical.first * steps.height + horizontal.first * steps.width;
#pragma unroll 1
      for (Index c = 0; c < channels; c += kTogether) {
        T factors[kTogether];
#pragma unroll
        for (int k = 0; k < kTogether; ++k) factors[k] = scale.at(c + k);
        const auto weigh = [&](bool there, Index step, T weight, T(&weighed)[kTogether]) {
          T values[kTogether] = {};
          if (there) {
            const T* const first = image + (place + c * steps.channel + step);
            if constexpr (kVectors) {
              read_vector(first, values);
            } else {
              values[0] = *first;
            }
          }
#pragma unroll
          for (int k = 0; k < kTogether; ++k) {
            weighed[k] = multiply(there ? multiply(values[k] - fill, factors[k]) : T(0), weight);
          }
        };
        T first[kTogether], second[kTogether], third[kTogether], fourth[kTogether];
        weigh(has_upper && has_left, 0, upper_left, first);
        weigh(has_upper && has_right, steps.width, upper_right, second);
        weigh(has_lower && has_left, steps.height, lower_left, third);
        weigh(has_lower && has_right, steps.height + steps.width, lower_right, fourth);
#pragma unroll
        for (int k = 0; k < kTogether; ++k) {
          first[k] = add(add(add(first[k], second[k]), add(third[k], fourth[k])), shift.at(c + k));
        }
        write(c, first);
      }
    }
    __syncthreads();  // before the next stretch starts
  }
}

/// samples (N, C, H, W), of any strides.
template <Border border, typename T>
void affine_sample(const T* images, const Layout& layout, const Matrices& matrices, const ChannelValues<T>& scale,
                   const ChannelValues<T>& shift, double fill, const Layout& sample_layout, T* samples, cudaStream_t stream,
                   int64_t farthest = kFarthestOfImage) {
  if (layout.channels == 0) return;
  auto kernel = sample_pixels<border, T, int64_t, false>;
  if (image_fits_32_bits(layout, farthest) && image_fits_32_bits(sample_layout, farthest)) {
    const bool in_vectors = channels_lie_in_vectors(images, layout) && channels_lie_in_vectors<T>(samples, sample_layout);
    kernel = in_vectors ? sample_pixels<border, T, int32_t, true> : sample_pixels<border, T, int32_t, false>;
  }
  launch("sampling", kernel, grid_for(Stretch::count(layout, kSampledTogether, 1)), kBlockThreads, 0, stream, images, layout,
         matrices, scale, shift, static_cast<T>(fill), sample_layout, samples);
}

}  // namespace captum_proto::cuda
