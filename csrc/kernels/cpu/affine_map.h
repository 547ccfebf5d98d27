// Where the pixels of an affinely mapped image are read.
#pragma once

#include <algorithm>
#include <cstdint>

namespace captum_proto {

/// Where output pixel (row, column) is read: at x = ax column + bx row + cx and y = ay column + by row + cy, in pixels of the
/// input. Coordinates are taken in double whatever the images are, always as ax * column + (bx * row + cx): forward and backward,
/// CPU and CUDA then agree on every weight.
struct AffineMap {
  double ax, bx, cx, ay, by, cy;

  /// From the 2 x 3 matrix of torch.nn.functional.affine_grid, in which each side of an image reaches from -1 to 1.
  AffineMap(const double* matrix, std::int64_t height, std::int64_t width) {
    const double h = static_cast<double>(height), w = static_cast<double>(width);
    ax = matrix[0];
    bx = matrix[1] * (w / h);
    cx = (ax * ((1 - w) / 2) + bx * ((1 - h) / 2)) + (matrix[2] * w + (w - 1)) / 2;
    ay = matrix[3] * (h / w);
    by = matrix[4];
    cy = (ay * ((1 - w) / 2) + by * ((1 - h) / 2)) + (matrix[5] * h + (h - 1)) / 2;
  }
};

/// One coordinate along a row of the output. Rounding keeps order, so it rises or falls with the column without exception.
struct RowCoordinate {
  double slope, start;

  double at(std::int64_t column) const { return slope * static_cast<double>(column) + start; }

  /// The columns of [0, width) whose coordinate is in [low, high) are those of [begin, end). A coordinate that is not finite is in
  /// no such range.
  void columns_within(double low, double high, std::int64_t width, std::int64_t& begin, std::int64_t& end) const {
    if (slope >= 0) {
      begin = first_column(width, low, [=](double x) { return x >= low; });
      end = first_column(width, high, [=](double x) { return x >= high; });
    } else {
      begin = first_column(width, high, [=](double x) { return x < high; });
      end = first_column(width, low, [=](double x) { return x < low; });
    }
  }

 private:
  /// The first column whose coordinate has `passed` the bound: guessed by a division, or searched where rounding defeats that.
  template <class Passed>
  std::int64_t first_column(std::int64_t width, double bound, const Passed& passed) const {
    const double guess = std::min(std::max((bound - start) / slope, 0.0), static_cast<double>(width));
    std::int64_t low = 0, high = width;
    if (guess == guess) {
      const std::int64_t near = static_cast<std::int64_t>(guess);
      for (std::int64_t column = near; column <= std::min(near + 1, width); ++column)
        if ((column == 0 || !passed(at(column - 1))) && (column == width || passed(at(column)))) return column;
    }
    while (low < high) {
      const std::int64_t middle = low + (high - low) / 2;
      if (passed(at(middle))) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }
};

}  // namespace captum_proto
