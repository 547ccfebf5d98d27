// Compiles the kernels of csrc/kernels/cuda with a C++ compiler and executes them, so that they are tested without a GPU.
//
// A CUDA thread is a fiber. Blocks run one after the other; within a block one fiber runs until it waits, at a barrier of the
// block or for the lanes of its warp, and then another, in an order that the test chooses; or, compiled for it
// (host_interleaving.h), until any access to memory. That proves the kernels' logic: divergent barriers, lanes that do not take
// part, lanes that rely on lockstep, and reads of memory nobody wrote show as failures or wrong results; under AddressSanitizer,
// accesses out of bounds of global and of shared memory; under ThreadSanitizer, which is told what CUDA's barriers order and
// nothing else, data races within a block. It does not model caches, or the speed of anything.
#pragma once

#define CAPTUM_PROTO_CUDA_ON_HOST 1

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "host_machine.h"

// ---- CUDA's words ------------------------------------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

using cudaStream_t = void*;

/// 16 bytes that are read and written at once.
struct __attribute__((may_alias, aligned(16))) uint4 {
  uint32_t x, y, z, w;
};

namespace on_host {

// ---- Warps -------------------------------------------------------------------------------------------------------------------

template <typename T>
uint64_t to_slot(T value) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable_v<T>);
  uint64_t slot = 0;
  std::memcpy(&slot, &value, sizeof(T));
  return slot;
}

template <typename T>
T from_slot(uint64_t slot) {
  T value;
  std::memcpy(&value, &slot, sizeof(T));
  return value;
}

/// The value of lane `source`, or the own one where that lies outside the warp.
template <typename T>
T shuffle(const Site* site, unsigned mask, T value, int source) {
  Machine& machine = Machine::instance();
  if (source < 0 || source >= kLanes) source = machine.lane();
  const uint64_t* values = machine.exchange(site, mask, to_slot(value));
  if ((mask >> source & 1u) == 0) machine.fail(site->text() + ": reads from a lane that does not take part");
  Unwatched unwatched;
  return from_slot<T>(values[source]);
}

inline unsigned ballot(const Site* site, unsigned mask, bool predicate) {
  const uint64_t* values = Machine::instance().exchange(site, mask, predicate ? 1 : 0);
  Unwatched unwatched;
  unsigned result = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    if ((mask >> lane & 1u) != 0 && values[lane] != 0) result |= 1u << lane;
  }
  return result;
}

/// Of __syncwarp(), whose mask may be left out.
inline unsigned mask_of(unsigned mask = 0xffffffffu) { return mask; }

template <typename T>
T& shared(const void* site) {
  static_assert(std::is_trivially_destructible_v<T>);
  return *static_cast<T*>(Machine::instance().shared_object(site, sizeof(T)));
}

}  // namespace on_host

#define ON_HOST_SITE(what)                                           \
  ([]() -> const ::on_host::Site* {                                  \
    static constexpr ::on_host::Site site{__FILE__, __LINE__, what}; \
    return &site;                                                    \
  }())

#define threadIdx (::on_host::Machine::instance().current().index)
#define blockIdx (::on_host::Machine::instance().block_index())
#define blockDim (::on_host::Machine::instance().block_dim())
#define gridDim (::on_host::Machine::instance().grid_dim())

#define __syncthreads() static_cast<void>(::on_host::Machine::instance().barrier(ON_HOST_SITE("__syncthreads"), false))
#define __syncthreads_or(predicate) \
  static_cast<int>(::on_host::Machine::instance().barrier(ON_HOST_SITE("__syncthreads_or"), (predicate) != 0))
#define __syncwarp(...) (::on_host::Machine::instance().sync_warp(ON_HOST_SITE("__syncwarp"), ::on_host::mask_of(__VA_ARGS__)))
#define __ballot_sync(mask, predicate) (::on_host::ballot(ON_HOST_SITE("__ballot_sync"), mask, (predicate) != 0))
#define __shfl_sync(mask, value, source) (::on_host::shuffle(ON_HOST_SITE("__shfl_sync"), mask, value, source))
#define __shfl_up_sync(mask, value, offset) \
  (::on_host::shuffle(ON_HOST_SITE("__shfl_up_sync"), mask, value, ::on_host::Machine::instance().lane() - (offset)))
#define __shfl_down_sync(mask, value, offset) \
  (::on_host::shuffle(ON_HOST_SITE("__shfl_down_sync"), mask, value, ::on_host::Machine::instance().lane() + (offset)))

#define CAPTUM_PROTO_SHARED(type, name) \
  static char name##_site;              \
  type& name = ::on_host::shared<type>(&name##_site)

// ---- Atomics and intrinsics --------------------------------------------------------------------------------------------------

template <typename T>
T atomicAdd(T* address, T value) {
  return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
template <typename T>
T atomicOr(T* address, T value) {
  return __atomic_fetch_or(address, value, __ATOMIC_RELAXED);
}

inline float __uint_as_float(uint32_t bits) { return on_host::from_slot<float>(bits); }
inline uint32_t __float_as_uint(float value) { return static_cast<uint32_t>(on_host::to_slot(value)); }
inline double __longlong_as_double(long long bits) { return on_host::from_slot<double>(static_cast<uint64_t>(bits)); }
inline long long __double_as_longlong(double value) { return static_cast<long long>(on_host::to_slot(value)); }
inline int __clz(int value) { return value == 0 ? 32 : __builtin_clz(static_cast<unsigned>(value)); }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __ffsll(long long value) { return __builtin_ffsll(value); }
inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __popcll(unsigned long long value) { return __builtin_popcountll(value); }
// Compiled with -ffp-contract=off, so that each is one operation here too.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return std::sqrt(a); }
using std::fabs;
using std::floor;

// ---- What csrc/kernels/cuda/platform.cuh offers for nvcc ---------------------------------------------------------------------

namespace captum_proto::cuda {

template <typename T>
T* dynamic_shared() {
  static char site;
  return static_cast<T*>(on_host::Machine::instance().dynamic_shared(&site));
}

template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared_bytes,
            cudaStream_t /*stream*/, const Arguments&... arguments) {
  if (blocks == 0) return;
  const std::tuple<std::remove_cv_t<Parameters>...> parameters(static_cast<Parameters>(arguments)...);
  on_host::Machine::instance().run(name, blocks, threads, shared_bytes, [&] { std::apply(kernel, parameters); });
}

inline void fill_zero(void* data, size_t bytes, cudaStream_t /*stream*/) {
  if (bytes == 0) return;
  std::memset(data, 0, bytes);
  on_host::Traffic::instance().add("clearing memory", 0, static_cast<int64_t>(bytes));
}

inline float float_of_half_bits(uint16_t bits) { return static_cast<float>(on_host::from_slot<_Float16>(bits)); }
inline uint16_t half_bits_of_float(float value) { return static_cast<uint16_t>(on_host::to_slot(static_cast<_Float16>(value))); }

}  // namespace captum_proto::cuda
