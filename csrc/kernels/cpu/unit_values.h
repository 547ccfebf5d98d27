// The values of units, wherever they lie, by the block: where they are if they are neighbors, else as a copy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace captum_proto {

/// Values (units, outer, inner), such as of channels, images and positions; strides count values.
template <class T>
struct UnitValues {
  const T* data;
  std::int64_t units, outer, inner;
  std::int64_t unit_stride, outer_stride, inner_stride;
};

/// Values that are visited together: their copies stay in the first-level cache.
constexpr std::int64_t kUnitBlock = 512;
/// Units whose values are copied together where they lie side by side.
constexpr std::int64_t kUnitTile = 16;

/// Calls visit(unit, values, count), count up to kUnitBlock, for all values of units [begin, end).
template <class T, class Visit>
void visit_unit_blocks(UnitValues<T> x, std::int64_t begin, std::int64_t end, const Visit& visit) {
  if (x.inner == 1) {  // one axis is as good as the other
    x.inner = x.outer, x.inner_stride = x.outer_stride;
    x.outer = 1, x.outer_stride = 0;
  }
  if (x.outer == 0 || x.inner == 0) return;
  if (x.inner_stride == 1) {
    T together[kUnitBlock];
    for (std::int64_t unit = begin; unit < end; ++unit) {
      std::int64_t held = 0;  // short runs are put together
      for (std::int64_t i = 0; i < x.outer; ++i) {
        const T* run = x.data + unit * x.unit_stride + i * x.outer_stride;
        if (x.inner >= kUnitBlock / 2) {
          for (std::int64_t j = 0; j < x.inner; j += kUnitBlock) visit(unit, run + j, std::min(kUnitBlock, x.inner - j));
          continue;
        }
        if (held + x.inner > kUnitBlock) {
          visit(unit, static_cast<const T*>(together), held);
          held = 0;
        }
        std::memcpy(together + held, run, static_cast<std::size_t>(x.inner) * sizeof(T));
        held += x.inner;
      }
      if (held > 0) visit(unit, static_cast<const T*>(together), held);
    }
    return;
  }
  T tile[kUnitTile][kUnitBlock];
  for (std::int64_t first = begin; first < end; first += kUnitTile) {
    const std::int64_t units = std::min(kUnitTile, end - first);
    for (std::int64_t i = 0; i < x.outer; ++i) {
      for (std::int64_t j = 0; j < x.inner; j += kUnitBlock) {
        const std::int64_t count = std::min(kUnitBlock, x.inner - j);
        for (std::int64_t p = 0; p < count; ++p) {
          const T* values = x.data + first * x.unit_stride + i * x.outer_stride + (j + p) * x.inner_stride;
          for (std::int64_t u = 0; u < units; ++u) tile[u][p] = values[u * x.unit_stride];
        }
        for (std::int64_t u = 0; u < units; ++u) visit(first + u, static_cast<const T*>(tile[u]), count);
      }
    }
  }
}

}  // namespace captum_proto
