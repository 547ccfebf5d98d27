// The values of units, wherever they lie.
#pragma once

#include "values.cuh"

namespace captum_proto::cuda {

/// Values (units, outer, inner), such as of channels, images and positions; strides count values.
template <typename T>
struct UnitValues {
  const T* data;
  int64_t units, outer, inner;
  int64_t unit_stride, outer_stride, inner_stride;

  /// One unit's values, numbered from 0 to outer * inner.
  __device__ __forceinline__ T at(int64_t unit, int64_t index) const {
    return data[unit * unit_stride + index / inner * outer_stride + index % inner * inner_stride];
  }
};

}  // namespace captum_proto::cuda
