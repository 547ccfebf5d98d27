// Pixels as vectors of up to four channels: gathered from images of any strides, and put back.
#pragma once

#include <cstdint>
#include <cstring>

#include "../limits.h"

namespace captum_proto {

/// The channels of a pixel that are worked on together, of which the last may hold nothing of use.
template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(kChannelsTogether * sizeof(float))));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(kChannelsTogether * sizeof(double))));
};

/// Up to four channels of one row of an image.
template <class T>
struct PixelRow {
  T* data;
  std::int64_t channel_stride, pixel_stride, channels;
};

/// What is done to each channel's values: first less `offset`, then times `factor`.
template <class T>
struct ChannelMap {
  T offset;
  T factor[kChannelsTogether];
};

/// out[4 k + c] = (value of channel c and pixel begin + k, less the map's offset) times its factor.
template <int channels, class T>
void interleave_planes(const PixelRow<const T>& row, std::int64_t begin, std::int64_t end, const ChannelMap<T>& map,
                       T* __restrict__ out) {
  const std::int64_t count = end - begin, step = row.pixel_stride;
  const T* const first = row.data + begin * step;
  const T* const second = first + (channels > 1 ? row.channel_stride : 0);
  const T* const third = first + (channels > 2 ? 2 * row.channel_stride : 0);
  const T* const fourth = first + (channels > 3 ? 3 * row.channel_stride : 0);
  const T offset = map.offset, factor[] = {map.factor[0], map.factor[1], map.factor[2], map.factor[3]};
  const auto copy = [&](std::int64_t stride) __attribute__((always_inline)) {
    for (std::int64_t k = 0; k < count; ++k) {
      out[4 * k] = (first[k * stride] - offset) * factor[0];
      out[4 * k + 1] = channels > 1 ? (second[k * stride] - offset) * factor[1] : T(0);
      out[4 * k + 2] = channels > 2 ? (third[k * stride] - offset) * factor[2] : T(0);
      out[4 * k + 3] = channels > 3 ? (fourth[k * stride] - offset) * factor[3] : T(0);
    }
  };
  if (step == 1) {
    copy(1);
  } else {
    copy(step);
  }
}

template <class T>
void interleave(const PixelRow<const T>& row, std::int64_t begin, std::int64_t end, const ChannelMap<T>& map, T* out) {
  using Vector = typename VectorOf<T>::type;
  if (begin >= end) return;
  if (row.channel_stride == 1 && row.channels >= 3 && row.pixel_stride >= row.channels) {
    const Vector factor = {map.factor[0], map.factor[1], map.factor[2], map.factor[3]};
    // A vector of three channels reads one value of the next pixel, which the last one does not have.
    const std::int64_t whole = row.channels == kChannelsTogether ? end : end - 1;
    for (std::int64_t k = begin; k < whole; ++k) {
      Vector pixel;
      std::memcpy(&pixel, row.data + k * row.pixel_stride, sizeof(pixel));
      pixel = (pixel - map.offset) * factor;
      std::memcpy(out + 4 * (k - begin), &pixel, sizeof(pixel));
    }
    out += 4 * (whole - begin);
    begin = whole;
  }
  switch (row.channels) {
    case 1:
      return interleave_planes<1>(row, begin, end, map, out);
    case 2:
      return interleave_planes<2>(row, begin, end, map, out);
    case 3:
      return interleave_planes<3>(row, begin, end, map, out);
    default:
      return interleave_planes<4>(row, begin, end, map, out);
  }
}

/// The way back: value of channel c and pixel begin + k = in[4 k + c].
template <int channels, class T>
void separate_planes(const T* __restrict__ in, std::int64_t begin, std::int64_t end, const PixelRow<T>& row) {
  const std::int64_t step = row.pixel_stride;
  const auto copy = [&](std::int64_t stride) __attribute__((always_inline)) {
    for (int c = 0; c < channels; ++c) {
      T* __restrict__ const out = row.data + begin * stride + c * row.channel_stride;
      for (std::int64_t k = 0; k < end - begin; ++k) out[k * stride] = in[4 * k + c];
    }
  };
  if (step == 1) {
    copy(1);
  } else {
    copy(step);
  }
}

template <class T>
void separate(const T* in, std::int64_t begin, std::int64_t end, const PixelRow<T>& row) {
  using Vector = typename VectorOf<T>::type;
  if (begin >= end) return;
  if (row.channel_stride == 1 && row.pixel_stride == row.channels && row.channels >= 3) {
    // A vector of three channels spills into the next pixel, which is written after it; the last one has none.
    const std::int64_t whole = row.channels == kChannelsTogether ? end : end - 1;
    for (std::int64_t k = begin; k < whole; ++k) {
      Vector pixel;
      std::memcpy(&pixel, in + 4 * (k - begin), sizeof(pixel));
      std::memcpy(row.data + k * row.pixel_stride, &pixel, sizeof(pixel));
    }
    in += 4 * (whole - begin);
    begin = whole;
  }
  switch (row.channels) {
    case 1:
      return separate_planes<1>(in, begin, end, row);
    case 2:
      return separate_planes<2>(in, begin, end, row);
    case 3:
      return separate_planes<3>(in, begin, end, row);
    default:
      return separate_planes<4>(in, begin, end, row);
  }
}

}  // namespace captum_proto
