// The operators over ranges of rows, whatever their strides. Rows are independent, so ranges may run on any threads.
//
// Below this file kernels are compiled for several processors; row by row, `run` picks one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "dispatch.h"
#include "exact.h"
#include "l1.h"
#include "rank.h"
#include "spearman.h"
#include "team.h"
#include "workspace.h"

namespace captum_proto {

/// N rows of `size` values; strides count values, and are 0 along an expanded dimension.
template <class T>
struct Rows {
  const T* data;
  std::size_t size;
  std::int64_t row_stride;
  std::int64_t stride;

  /// Row `index`: where it lies if its values are neighbors, else a copy in `slot`.
  const T* row(std::int64_t index, Workspace& workspace, Workspace::Slot slot) const {
    const T* first = data + index * row_stride;
    if (stride == 1 || size <= 1) return first;
    T* copy = workspace.get<T>(slot, size);
    for (std::size_t i = 0; i < size; ++i) copy[i] = first[static_cast<std::int64_t>(i) * stride];
    return copy;
  }

  /// The same, by several workers.
  const T* row_together(std::int64_t index, Workspace& workspace, Workspace::Slot slot, const Team& team) const {
    const T* first = data + index * row_stride;
    if (stride == 1 || size <= 1) return first;
    T* copy = workspace.get<T>(slot, size);
    team.share(size, [=, this_stride = stride](std::size_t, std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) copy[i] = first[static_cast<std::int64_t>(i) * this_stride];
    });
    return copy;
  }
};

/// From doubled ranks to ranks; those of a row without ranks become NaN.
inline void write_float_ranks(const std::int32_t* doubled, std::size_t begin, std::size_t end, double* out) {
  const bool has_nan = begin < end && doubled[0] == 0;
  for (std::size_t j = begin; j < end; ++j) out[j] = has_nan ? kNotANumber : 0.5 * doubled[j];
}

/// Whether a row may be worth parting: then it is treated like those of several workers.
template <class T>
bool may_be_parted(std::size_t size) {
  return Parting::is_worth_it<Item<KeyOf<T>>>(size);
}

template <class T>
void rank_row_alone(const T* row, std::size_t size, std::int32_t* ranks) {
  if (may_be_parted<T>(size)) {
    rank_row_together(row, size, ranks, Team::of_one());
  } else {
    run<&rank_row<T>>(row, size, ranks);
  }
}

template <class T>
double spearman_row_alone(const T* row, std::size_t size, const RankedRow& other) {
  if (may_be_parted<T>(size)) return spearman_row_together(row, size, other, Team::of_one());
  return run<&spearman_row<T>>(row, size, &other);
}

template <class T>
void rank_rows(Rows<T> x, std::int64_t begin, std::int64_t end, std::int32_t* ranks) {
  const WorkspaceLease lease;
  for (std::int64_t i = begin; i < end; ++i)
    rank_row_alone(x.row(i, lease.workspace, Workspace::kRow), x.size, ranks + i * static_cast<std::int64_t>(x.size));
}

template <class T>
void float_rank_rows(Rows<T> x, std::int64_t begin, std::int64_t end, double* ranks) {
  const WorkspaceLease lease;
  for (std::int64_t i = begin; i < end; ++i) {
    std::int32_t* doubled = lease.workspace.template get<std::int32_t>(Workspace::kRanks, x.size);
    rank_row_alone(x.row(i, lease.workspace, Workspace::kRow), x.size, doubled);
    write_float_ranks(doubled, 0, x.size, ranks + i * static_cast<std::int64_t>(x.size));
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
      rho[i] = spearman_row_alone(row, x.size, *shared);
    } else {
      const RankedRow own = run<&summarize_ranks>(references.row(i, lease.workspace, Workspace::kPayloadRow), x.size);
      rho[i] = spearman_row_alone(row, x.size, own);
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
      rho[i] = spearman_row_alone(row, x.size, *shared);
    } else {
      const RankedRow own = run<&summarize_ranks>(references.row(i, lease.workspace, Workspace::kPayloadRow), x.size);
      rho[i] = spearman_row_alone(row, x.size, own);
    }
  }
}

// ---- one row, by several workers; what they give is the same to the bit ----

inline RankedRow summarize_ranks_together(const std::int32_t* ranks, std::size_t size, const Team& team) {
  std::vector<RankedRow> shares(team.workers, RankedRow(ranks, 0));
  team.share(size, [&](std::size_t worker, std::size_t begin, std::size_t end) {
    shares[worker] = run<&summarize_share_of_ranks>(ranks + begin, end - begin, doubled_rank_mean(size));
  });
  RankedRow whole(ranks, 0);
  whole.has_nan = size == 0 || ranks[0] == 0;
  for (const RankedRow& share : shares) {
    whole.sum += share.sum;
    whole.squares += share.squares;
  }
  return whole;
}

template <class T>
void rank_row_together(Rows<T> x, std::int64_t i, std::int32_t* ranks, const Team& team) {
  const WorkspaceLease lease;
  rank_row_together(x.row_together(i, lease.workspace, Workspace::kRow, team), x.size,
                    ranks + i * static_cast<std::int64_t>(x.size), team);
}

template <class T>
void float_rank_row_together(Rows<T> x, std::int64_t i, double* ranks, const Team& team) {
  const WorkspaceLease lease;
  std::int32_t* doubled = lease.workspace.template get<std::int32_t>(Workspace::kRanks, x.size);
  rank_row_together(x.row_together(i, lease.workspace, Workspace::kRow, team), x.size, doubled, team);
  double* out = ranks + i * static_cast<std::int64_t>(x.size);
  team.share(x.size, [=](std::size_t, std::size_t begin, std::size_t end) { write_float_ranks(doubled, begin, end, out); });
}

template <class T>
void spearman_row_together(Rows<T> x, Rows<std::int32_t> references, const RankedRow* shared, std::int64_t i, double* rho,
                           const Team& team) {
  const WorkspaceLease lease;
  const T* row = x.row_together(i, lease.workspace, Workspace::kRow, team);
  const RankedRow reference =
      shared != nullptr
          ? *shared
          : summarize_ranks_together(references.row_together(i, lease.workspace, Workspace::kPayloadRow, team), x.size, team);
  rho[i] = spearman_row_together(row, x.size, reference, team);
}

template <class T, class Mean>
void path_distance_row_together(Rows<T> x, Rows<Mean> means, Rows<std::int32_t> references, const RankedRow* shared, std::int64_t i,
                                double* rho, double* l1, const Team& team) {
  const WorkspaceLease lease;
  const T* row = x.row_together(i, lease.workspace, Workspace::kRow, team);
  l1[i] = l1_row_together(row, means.row_together(i, lease.workspace, Workspace::kMeanRow, team), x.size, team);
  spearman_row_together(Rows<T>{row, x.size, 0, 1}, references, shared, i, rho, team);
}

}  // namespace captum_proto
