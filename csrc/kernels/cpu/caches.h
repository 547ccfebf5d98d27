// How much memory a core has near.
#pragma once

#include <cstddef>

#if defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__unix__)
#include <unistd.h>
#endif

namespace captum_proto {

/// Bytes of the second-level cache: the last that a core shares with few others or none. What a third level has to offer depends on
/// the neighbors, and virtual machines are told sizes of it that are not theirs.
inline std::size_t near_cache_bytes() {
#ifdef CAPTUM_PROTO_NEAR_CACHE_BYTES  // tests pretend that there is little, so that short rows take the way of long ones
  return CAPTUM_PROTO_NEAR_CACHE_BYTES;
#else
  static const std::size_t bytes = [] {
    constexpr std::size_t kUsual = std::size_t{1} << 20;
#if defined(__APPLE__)
    std::size_t size = 0, width = sizeof(size);
    return sysctlbyname("hw.l2cachesize", &size, &width, nullptr, 0) == 0 && size > 0 ? size : kUsual;
#elif defined(_SC_LEVEL2_CACHE_SIZE)
    const long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
    return size > 0 ? static_cast<std::size_t>(size) : kUsual;  // 0 where the system does not say, -1 where it does not know
#else
    return kUsual;
#endif
  }();
  return bytes;
#endif
}

}  // namespace captum_proto
