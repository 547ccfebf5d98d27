// What is outside of an image that is sampled.
#pragma once

namespace captum_proto {

/// In the order of BORDERS of captum_proto/ops/_schemas.py.
enum class Border {
  kConstant,   // one value
  kReflect,    // the image's mirror image, in which the outermost pixel comes again
  kReplicate,  // the pixel of the image that is nearest
};
constexpr int kBorders = 3;

/// Added to a double of less than 2^51 and taken away again, it leaves the nearest whole number, ties to even: the same two
/// additions on every processor, four at a time where there are vectors. Of larger ones it leaves what the same additions leave
/// everywhere.
constexpr double kRounder = 6755399441055744.0;  // 1.5 * 2^52

}  // namespace captum_proto
