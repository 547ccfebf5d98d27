// The operators over ranges of rows, whatever their strides. Rows are independent, so ranges may run on any threads.
//
// Below this file kernels are compiled for several processors; row by row, `run` picks one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "dispatch.h"
#include "exact.h"
#include "l1.h"
#include "rank.h"
#include "spearman.h"
#include "workspace.h"

namespace captum_proto {

/// N rows of `size` values; strides count values, and are 0 along an expanded dimension.
template <class T>
struct Rows {
  const T* data;
  std::size_t size;
  std::int64_t row_stride;
  std::int64_t stride;

  /// Row `index`: where it lies if its values are neighbours, else a copy in `slot`.
  const T* row(std::int64_t index, Workspace& workspace, Workspace::Slot slot) const {
    const T* first = data + index * row_stride;
    if (stride == 1 || size <= 1) return first;
    T* copy = workspace.get<T>(slot, size);
    for (std::size_t i = 0; i < size; ++i) copy[i] = first[static_cast<std::int64_t>(i) * stride];
    return copy;
  }
};

template <class T>
void rank_rows(Rows<T> x, std::int64_t begin, std::int64_t end, std::int32_t* ranks) {
  const WorkspaceLease lease;
  for (std::int64_t i = begin; i < end; ++i)
    run<&rank_row<T>>(x.row(i, lease.workspace, Workspace::kRow), x.size, ranks + i * static_cast<std::int64_t>(x.size));
}

/// Ranks as floats; a row without ranks becomes NaN.
template <class T>
void float_rank_rows(Rows<T> x, std::int64_t begin, std::int64_t end, double* ranks) {
  const WorkspaceLease lease;
  for (std::int64_t i = begin; i < end; ++i) {
    std::int32_t* doubled = lease.workspace.template get<std::int32_t>(Workspace::kRanks, x.size);
    run<&rank_row<T>>(x.row(i, lease.workspace, Workspace::kRow), x.size, doubled);
    double* out = ranks + i * static_cast<std::int64_t>(x.size);
    const bool has_nan = x.size > 0 && doubled[0] == 0;
    for (std::size_t j = 0; j < x.size; ++j) out[j] = has_nan ? not_a_number : 0.5 * doubled[j];
  }
}

/// One reference for all rows is passed as `shared`; else `references` holds one for each.
template <class T>
void spearman_rows(Rows<T> x, Rows<std::int32_t> references, const RankedRow* shared, std::int64_t begin, std::int64_t end,
                   double* rho) {
  const WorkspaceLease lease;
  for (std::int64_t i = begin; i < end; ++i) {
    const T* row = x.row(i, lease.workspace, Workspace::kRow);
    if (shared != nullptr) {
      rho[i] = run<&spearman_row<T>>(row, x.size, shared);
    } else {
      const RankedRow own = run<&summarize_ranks>(references.row(i, lease.workspace, Workspace::kPayloadRow), x.size);
      rho[i] = run<&spearman_row<T>>(row, x.size, static_cast<const RankedRow*>(&own));
    }
  }
}

template <class T, class Mean>
void path_distance_rows(Rows<T> x, Rows<Mean> means, Rows<std::int32_t> references, const RankedRow* shared, std::int64_t begin,
                        std::int64_t end, double* rho, double* l1) {
  const WorkspaceLease lease;
  for (std::int64_t i = begin; i < end; ++i) {
    const T* row = x.row(i, lease.workspace, Workspace::kRow);
    l1[i] = run<&l1_row<T, Mean>>(row, means.row(i, lease.workspace, Workspace::kMeanRow), x.size);
    if (shared != nullptr) {
      rho[i] = run<&spearman_row<T>>(row, x.size, shared);
    } else {
      const RankedRow own = run<&summarize_ranks>(references.row(i, lease.workspace, Workspace::kPayloadRow), x.size);
      rho[i] = run<&spearman_row<T>>(row, x.size, static_cast<const RankedRow*>(&own));
    }
  }
}

}  // namespace captum_proto
