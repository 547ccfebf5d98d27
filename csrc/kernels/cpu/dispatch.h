// One source, compiled for several generations of processors; the one to run is chosen when it runs.
#pragma once

#include <utility>

#if defined(__GNUC__) && defined(__x86_64__) && !defined(CAPTUM_PROTO_NO_AVX2)
#define CAPTUM_PROTO_HAS_AVX2_VARIANT 1
// `flatten` inlines everything that a kernel calls into this variant of it, which so is compiled for AVX2 throughout. No FMA:
// results must not depend on the processor.
#define CAPTUM_PROTO_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt"), flatten))
#endif

namespace captum_proto {

inline bool has_avx2() {
#ifdef CAPTUM_PROTO_HAS_AVX2_VARIANT
  static const bool supported = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                                __builtin_cpu_supports("popcnt");
  return supported;
#else
  return false;
#endif
}

inline const char* cpu_capability() { return has_avx2() ? "avx2" : "default"; }

#ifdef CAPTUM_PROTO_HAS_AVX2_VARIANT
template <auto kernel, class... Args>
CAPTUM_PROTO_AVX2 auto run_with_avx2(Args... args) {
  return kernel(args...);
}
#endif

/// Calls `kernel`, in the variant that suits this processor.
template <auto kernel, class... Args>
auto run(Args... args) {
#ifdef CAPTUM_PROTO_HAS_AVX2_VARIANT
  if (has_avx2()) return run_with_avx2<kernel>(args...);
#endif
  return kernel(args...);
}

}  // namespace captum_proto
