// What the operators on concepts expect of their arguments, on every device.
#pragma once

#include "check_streams.h"
#include "tensors.h"

namespace captum_proto {

inline void check_concepts(const Tensor& counts, const Tensor& activations, const Tensor& thresholds, const Tensor& labels) {
  require(activations.dim() == 4 && is_float_or_double(activations) && activations.size(2) > 0 && activations.size(3) > 0,
          "activations have the shape ", ShapeOf{activations},
          "; expected (N, U, h, w) in float32 or float64, with at least one place.");
  check_filled(counts, "counts", ScalarType::Long, activations);
  check_filled(thresholds, "thresholds", ScalarType::Double, activations);
  check_filled(labels, "labels", ScalarType::Short, activations);
  require(counts.dim() == 2 && counts.size(0) == activations.size(1) && counts.size(1) > 0, "counts have the shape ",
          ShapeOf{counts}, "; expected (", activations.size(1), ", concepts and one).");
  require(thresholds.dim() == 1 && thresholds.size(0) == activations.size(1), "thresholds have the shape ", ShapeOf{thresholds},
          "; expected (", activations.size(1), ",).");
  require(labels.dim() == 4 && labels.size(0) == activations.size(0) && labels.size(2) > 0 && labels.size(3) > 0,
          "labels have the shape ", ShapeOf{labels}, "; expected (", activations.size(0), ", M, H, W), with at least one pixel.");
}

}  // namespace captum_proto
