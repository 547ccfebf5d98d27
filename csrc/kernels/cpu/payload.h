// What travels with a value's key while it is sorted.
#pragma once

#include <cstddef>
#include <cstdint>

namespace captum_proto {

/// The payload of the value at index i is values[i]; say, its rank in another row.
struct PayloadFrom {
  const std::int32_t* values;
  std::uint32_t operator()(std::size_t i) const { return static_cast<std::uint32_t>(values[i]); }
};

/// The payload of the value at index i is i.
struct IndexAsPayload {
  std::uint32_t operator()(std::size_t i) const { return static_cast<std::uint32_t>(i); }
};

}  // namespace captum_proto
