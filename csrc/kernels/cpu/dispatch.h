// One source, compiled for several generations of processors; the one to run is chosen when it runs.
#pragma once

#include <cstdlib>
#include <cstring>
#include <utility>

#if defined(__GNUC__) && defined(__x86_64__) && !defined(CAPTUM_PROTO_NO_AVX2)
#define CAPTUM_PROTO_HAS_AVX2_VARIANT 1
#define CAPTUM_PROTO_HAS_AVX512_VARIANT 1
// `flatten` inlines everything that a kernel calls into this variant of it, which so is compiled for AVX2 throughout. No FMA:
// results must not depend on the processor.
#define CAPTUM_PROTO_AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt"), flatten))
// For the few loops that gain by it.
#define CAPTUM_PROTO_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi,bmi2,popcnt")))
#define CAPTUM_PROTO_FLAT_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi,bmi2,popcnt"), flatten))
#elif defined(CAPTUM_PROTO_AVX512_MODEL)  // tests: the instructions are played by plain C++, on any processor
#define CAPTUM_PROTO_HAS_AVX512_VARIANT 1
#define CAPTUM_PROTO_AVX512
#define CAPTUM_PROTO_FLAT_AVX512
#endif

namespace captum_proto {

/// Generations of instructions, each with those before it.
enum class CpuLevel { kDefault, kAvx2, kAvx512 };

/// What the processor offers, and PyTorch's own variable allows: ATEN_CPU_CAPABILITY=default, avx2 or avx512.
inline CpuLevel cpu_level() {
  static const CpuLevel level = [] {
#ifdef CAPTUM_PROTO_AVX512_MODEL
    return CpuLevel::kAvx512;
#elif defined(CAPTUM_PROTO_HAS_AVX2_VARIANT)
    const char* const chosen = std::getenv("ATEN_CPU_CAPABILITY");
    const auto is_chosen = [=](const char* name) { return chosen != nullptr && std::strcmp(chosen, name) == 0; };
    if (is_chosen("default") || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi") ||
        !__builtin_cpu_supports("bmi2") || !__builtin_cpu_supports("popcnt"))
      return CpuLevel::kDefault;
    if (is_chosen("avx2") || !__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
      return CpuLevel::kAvx2;
    return CpuLevel::kAvx512;
#else
    return CpuLevel::kDefault;
#endif
  }();
  return level;
}

inline bool has_avx2() { return cpu_level() >= CpuLevel::kAvx2; }
inline bool has_avx512() { return cpu_level() >= CpuLevel::kAvx512; }

inline const char* cpu_capability() { return has_avx512() ? "avx512" : has_avx2() ? "avx2" : "default"; }

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
