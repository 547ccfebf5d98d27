// ops.path_distance: Spearman's correlation and the L1 distance of a layer's output to its reference.
#pragma once

#include "spearman.cuh"

namespace captum_proto::cuda {

/// correlations (rows) = spearman(); distances (rows) = Σ |x - mean| of each row, in double. Rows are not read once more for it:
/// the distance is summed by the kernel that reads them first.
template <typename T, typename Mean>
void path_distance(const Rows<T>& x, const Rows<Mean>& mean, const Rows<int32_t>& reference, int64_t reference_rows, int64_t rows,
                   int length, double* correlations, double* distances, const Plan& plan, Scratch& scratch, cudaStream_t stream) {
  if (rows == 0) return;
  const int64_t tiles = ceil_div(length, kDistanceTile);
  double* const partials = tiles <= 1 ? distances : scratch.allocate<double>(rows * tiles);
  const DistanceTo<Mean> distance{mean, partials};
  spearman(x, reference, reference_rows, rows, length, correlations, plan, scratch, stream, distance);
  if (tiles > 1) {
    launch("adding partial distances", add_partials, grid_for(ceil_div(rows, kBlockThreads / kWarp)), kBlockThreads, 0, stream,
           partials, rows, tiles, distances);
  }
}

}  // namespace captum_proto::cuda
