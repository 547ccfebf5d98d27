// Compiles the kernels of csrc/kernels/cuda with a C++ compiler and executes them, so that they are tested without a GPU.
//
// A CUDA thread is a fiber. Blocks run one after the other; within a block one fiber runs until it waits, at a barrier of the
// block or for the lanes of its warp, and then another, in an order that the test chooses. That proves the kernels' logic:
// divergent barriers, lanes that do not take part, and reads of memory nobody wrote show as failures or wrong results; under
// AddressSanitizer, accesses out of bounds of global and of shared memory; under ThreadSanitizer, which is told what CUDA's
// barriers order and nothing else, data races within a block. It does not model caches, or the speed of anything.
#pragma once

#define CAPTUM_PROTO_CUDA_ON_HOST 1

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define ON_HOST_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define ON_HOST_TSAN 1
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

// ---- CUDA's words ------------------------------------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

using cudaStream_t = void*;

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

namespace on_host {

constexpr int kLanes = 32;
constexpr int kMostThreads = 1024;
constexpr size_t kMostShared = 48 * 1024;  // what every GPU gives without being asked
constexpr size_t kStack = 256 * 1024;
constexpr unsigned char kUnwritten = 0xa5;  // fills memory that nothing has written

/// The kernels broke a rule of CUDA's.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// ---- Fibers ------------------------------------------------------------------------------------------------------------------

#if defined(__x86_64__)
// Keeps what a called function must keep, exchanges stacks, and returns on the other one.
extern "C" void captum_proto_switch_stack(void** save, void* next);
asm(R"(
.text
.p2align 4
.globl captum_proto_switch_stack
.type captum_proto_switch_stack, @function
captum_proto_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size captum_proto_switch_stack, .-captum_proto_switch_stack
)");
#endif

/// A stack of its own on which `entry` runs; entry never returns. A Fiber without a stack stands for the program's own.
class Fiber {
 public:
  Fiber() {
#if ON_HOST_TSAN
    sanitizer_ = __tsan_get_current_fiber();
#endif
  }

  explicit Fiber(void (*entry)()) {
    void* memory = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    stack_ = static_cast<unsigned char*>(memory);
#if ON_HOST_ASAN
    ASAN_UNPOISON_MEMORY_REGION(stack_, kStack);
#endif
#if ON_HOST_TSAN
    sanitizer_ = __tsan_create_fiber(0);
#endif
#if defined(__x86_64__)
    // As if `entry` had just been called: six saved registers, its address to return to, and no caller.
    static size_t count = 0;  // stacks end at different places of their pages, or they would share few lines of the cache
    void** top = reinterpret_cast<void**>(stack_ + kStack - count++ * 64 % 4096);
    top[-1] = nullptr;
    top[-2] = reinterpret_cast<void*>(entry);
    for (int i = 3; i <= 8; ++i) top[-i] = nullptr;
    pointer_ = top - 8;
#else
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_;
    context_.uc_stack.ss_size = kStack;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
#endif
  }

  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  ~Fiber() {
    if (stack_ == nullptr) return;
    // ThreadSanitizer's own part is left: it would mind a fiber that is given up while it waits.
#if ON_HOST_ASAN
    ASAN_UNPOISON_MEMORY_REGION(stack_, kStack);
#endif
    munmap(stack_, kStack);
  }

  /// Leaves this fiber, which must be running, for `next`; returns when something switches back.
  void switch_to(Fiber& next) {
#if ON_HOST_ASAN
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, next.bottom(), next.size());
#endif
#if defined(__x86_64__)
    void** save = &pointer_;
    void* restore = next.pointer_;
#endif
#if ON_HOST_TSAN
    __tsan_switch_to_fiber(next.sanitizer_, __tsan_switch_to_fiber_no_sync);  // from here on, `next` is who reads and writes
#endif
#if defined(__x86_64__)
    captum_proto_switch_stack(save, restore);
#else
    swapcontext(&context_, &next.context_);
#endif
#if ON_HOST_ASAN
    arrived(fake_stack);
#endif
  }

#if ON_HOST_ASAN
  /// Tells the sanitizer that a fiber has begun or continued; notes where the stack lies from which it came.
  static void arrived(void* fake_stack) {
    const void* bottom = nullptr;
    size_t size = 0;
    __sanitizer_finish_switch_fiber(fake_stack, &bottom, &size);
    if (program_stack().first == nullptr) program_stack() = {bottom, size};
  }
#else
  static void arrived(void*) {}
#endif

 private:
#if ON_HOST_ASAN
  static std::pair<const void*, size_t>& program_stack() {
    static std::pair<const void*, size_t> stack{nullptr, 0};  // known once the first fiber has been entered from it
    return stack;
  }
  const void* bottom() const { return stack_ == nullptr ? program_stack().first : stack_; }
  size_t size() const { return stack_ == nullptr ? program_stack().second : kStack; }
#endif

  unsigned char* stack_ = nullptr;
  void* sanitizer_ = nullptr;
#if defined(__x86_64__)
  void* pointer_ = nullptr;
#else
  ucontext_t context_;
#endif
};

// ---- What ThreadSanitizer is told --------------------------------------------------------------------------------------------

inline void happens_before([[maybe_unused]] void* tag) {
#if ON_HOST_TSAN
  __tsan_release(tag);
#endif
}
inline void happens_after([[maybe_unused]] void* tag) {
#if ON_HOST_TSAN
  __tsan_acquire(tag);
#endif
}

/// The machinery's own reads and writes do not belong to the kernel.
struct Unwatched {
#if ON_HOST_TSAN
  Unwatched() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~Unwatched() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
#else
  Unwatched() {}
  ~Unwatched() {}
#endif
};

// ---- Shared memory -----------------------------------------------------------------------------------------------------------

/// One block's shared memory. Objects lie apart, and what lies between them is poisoned under AddressSanitizer.
class SharedMemory {
 public:
  SharedMemory() : bytes_(static_cast<unsigned char*>(std::aligned_alloc(kGap, kRoom))) { clear(kRoom); }
  ~SharedMemory() {
#if ON_HOST_ASAN
    ASAN_UNPOISON_MEMORY_REGION(bytes_, kRoom);
#endif
    std::free(bytes_);
  }

  void clear() { clear(used_); }

  /// The same object for every thread that asks with the same site.
  void* object(const void* site, size_t size) {
    for (const auto& [known, offset] : objects_) {
      if (known == site) return bytes_ + offset;
    }
    const size_t offset = used_;
    objects_.emplace_back(site, offset);
    counted_ += size;
    used_ += (size / kGap + 2) * kGap;
    if (counted_ > kMostShared || used_ > kRoom) throw Failure("a block uses more than 48 KiB of shared memory");
#if ON_HOST_ASAN
    ASAN_UNPOISON_MEMORY_REGION(bytes_ + offset, size);
#endif
    return bytes_ + offset;
  }

 private:
  static constexpr size_t kGap = 64;
  static constexpr size_t kRoom = 2 * kMostShared;

  void clear(size_t size) {
#if ON_HOST_ASAN
    ASAN_UNPOISON_MEMORY_REGION(bytes_, size);
#endif
    std::memset(bytes_, kUnwritten, size);
#if ON_HOST_ASAN
    ASAN_POISON_MEMORY_REGION(bytes_, kRoom);
#endif
    objects_.clear();
    used_ = 0;
    counted_ = 0;
  }

  unsigned char* bytes_;
  size_t used_ = 0;
  size_t counted_ = 0;
  std::vector<std::pair<const void*, size_t>> objects_;
};

// ---- Blocks ------------------------------------------------------------------------------------------------------------------

/// Where in a kernel a thread waits, and for what.
struct Site {
  const char* file;
  int line;
  const char* what;

  std::string text() const {
    const char* slash = std::strrchr(file, '/');
    return std::string(what) + " at " + (slash == nullptr ? file : slash + 1) + ":" + std::to_string(line);
  }
};

constexpr Site kEnd{"", 0, "the kernel's end"};

enum class State { kReady, kAtBarrier, kInWarp, kDone };

struct Thread {
  explicit Thread(void (*entry)()) : fiber(entry) {}

  Fiber fiber;
  dim3 index;  // threadIdx
  State state = State::kDone;
  const Site* site = nullptr;
  unsigned mask = 0;               // the lanes that a warp operation names
  uint64_t given = 0;              // what this thread brings to where it waits
  uint64_t received[kLanes] = {};  // what its warp's lanes brought
  bool any = false;                // whether any thread of the block brought something
  int barriers = 0;                // how many barriers it has passed
};

/// The order in which threads run that could run: warp after warp, upwards or downwards, each as far as it gets; or by chance.
enum class Schedule { kAscending, kDescending, kShuffled };

class Machine {
 public:
  static Machine& instance() {
    static Machine* machine = new Machine;  // never destroyed, nor are fibers that wait for their next block
    return *machine;
  }

  Schedule schedule = Schedule::kAscending;
  unsigned seed = 0;
  int64_t most_blocks = 0x7fffffff;  // the kernels' loops must do what a smaller grid leaves over

  /// Executes kernel() by every thread of every block.
  void run(const char* name, int64_t blocks, int threads, size_t dynamic_bytes, const std::function<void()>& kernel) {
    if (blocks < 1 || blocks > 0x7fffffff) throw Failure(std::string(name) + ": a grid of " + std::to_string(blocks));
    if (threads < 1 || threads > kMostThreads) {
      throw Failure(std::string(name) + ": a block of " + std::to_string(threads) + " threads");
    }
    if (dynamic_bytes > kMostShared) throw Failure(std::string(name) + ": too much dynamic shared memory");
    blocks = std::min(blocks, most_blocks);
    kernel_ = &kernel;
    threads_ = threads;
    dynamic_bytes_ = dynamic_bytes;
    block_dim_ = dim3{static_cast<unsigned>(threads), 1, 1};
    grid_dim_ = dim3{static_cast<unsigned>(blocks), 1, 1};
    random_.seed(seed);
    for (int i = static_cast<int>(pool_.size()); i < threads; ++i) {
      pool_.push_back(std::make_unique<Thread>(&Machine::thread_main));
      pool_.back()->index = dim3{static_cast<unsigned>(i), 0, 0};
    }
    for (int64_t i = 0; i < blocks; ++i) {
      block_index_.x = static_cast<unsigned>(schedule == Schedule::kAscending ? i : blocks - 1 - i);
      block_index_.y = block_index_.z = 0;
      try {
        run_block();
      } catch (const Failure& failure) {
        pool_.clear();  // their stacks hold a kernel that will never end
        throw Failure(std::string(name) + ", block " + std::to_string(block_index_.x) + ": " + failure.what());
      }
    }
  }

  Thread& current() { return *__atomic_load_n(&current_, __ATOMIC_RELAXED); }
  const dim3& block_index() const { return block_index_; }
  const dim3& block_dim() const { return block_dim_; }
  const dim3& grid_dim() const { return grid_dim_; }
  int lane() { return static_cast<int>(current().index.x) % kLanes; }

  void* shared_object(const void* site, size_t size) {
    Unwatched unwatched;
    try {
      return shared_.object(site, size);
    } catch (const Failure& failure) {
      fail(failure.what());
    }
  }

  void* dynamic_shared(const void* site) { return shared_object(site, dynamic_bytes_); }

  /// Waits for all threads of the block. Returns whether any of them brought something.
  bool barrier(const Site* site, bool given) {
    Thread& thread = current();
    // Two tags in turn: a thread may be at the next barrier before another has left this one.
    char* tag = &barrier_tags_[thread.barriers++ % 2];
    happens_before(tag);
    bool any = false;
    {
      Unwatched unwatched;
      thread.given = given ? 1 : 0;
      wait(thread, State::kAtBarrier, site);
      any = thread.any;
    }
    happens_after(tag);
    return any;
  }

  /// Waits for the lanes of `mask`. Returns what each of them brought; none of this orders memory.
  const uint64_t* exchange(const Site* site, unsigned mask, uint64_t given) {
    Unwatched unwatched;
    Thread& thread = current();
    if ((mask >> lane() & 1u) == 0) fail(site->text() + ": a lane calls that its own mask leaves out");
    thread.mask = mask;
    thread.given = given;
    wait(thread, State::kInWarp, site);
    return thread.received;
  }

  /// Gives up the kernel.
  [[noreturn]] void fail(const std::string& why) {
    Unwatched unwatched;
    failure_ = why;
    current().fiber.switch_to(program_);
    std::abort();
  }

 private:
  static void thread_main() {
    Fiber::arrived(nullptr);
    Machine& machine = instance();
    for (;;) {
      Thread& thread = machine.current();
      happens_after(&machine.launch_tag_);
      (*machine.kernel_)();
      happens_before(&machine.done_tag_);
      Unwatched unwatched;
      machine.wait(thread, State::kDone, &kEnd);
    }
  }

  void wait(Thread& thread, State state, const Site* site) {
    thread.state = state;
    thread.site = site;
    thread.fiber.switch_to(program_);
  }

  void run_block() {
    shared_.clear();
    failure_.clear();
    arrived_ = 0;
    done_ = 0;
    for (Warp& warp : warps_) warp.waiting = 0;
    for (int i = 0; i < threads_; ++i) {
      pool_[i]->state = State::kReady;
      pool_[i]->barriers = 0;
    }
    happens_before(&launch_tag_);
    std::vector<int> warps(static_cast<size_t>((threads_ + kLanes - 1) / kLanes));
    std::vector<int> lanes(kLanes);
    std::iota(warps.begin(), warps.end(), 0);
    std::iota(lanes.begin(), lanes.end(), 0);
    if (schedule == Schedule::kDescending) {
      std::reverse(warps.begin(), warps.end());
      std::reverse(lanes.begin(), lanes.end());
    }
    while (done_ < threads_) {
      bool moved = false;
      if (schedule == Schedule::kShuffled) std::shuffle(warps.begin(), warps.end(), random_);
      for (const int warp : warps) {
        if (schedule == Schedule::kShuffled) {
          std::shuffle(lanes.begin(), lanes.end(), random_);
          moved |= run_lanes(warp, lanes);  // and on to another warp, wherever this one stands
        } else {
          while (run_lanes(warp, lanes)) moved = true;  // until all its lanes wait for other warps
        }
      }
      if (!moved) throw Failure(describe_standstill());
    }
    happens_after(&done_tag_);
  }

  /// Runs each lane of a warp, in the given order, up to where it must wait; false if all wait already.
  bool run_lanes(int warp, const std::vector<int>& lanes) {
    bool moved = false;
    for (const int lane : lanes) {
      if (warp * kLanes + lane >= threads_) continue;
      Thread& thread = *pool_[warp * kLanes + lane];
      if (thread.state != State::kReady) continue;
      moved = true;
      __atomic_store_n(&current_, &thread, __ATOMIC_RELAXED);
      program_.switch_to(thread.fiber);
      if (!failure_.empty()) throw Failure(failure_);
      settle(thread);
    }
    return moved;
  }

  /// Lets those go on who waited for this thread.
  void settle(Thread& thread) {
    if (thread.state == State::kDone) {
      ++done_;
    } else if (thread.state == State::kAtBarrier) {
      if (++arrived_ == threads_) release_barrier();
    } else if (thread.state == State::kInWarp) {
      release_warp(thread);
    }
  }

  void release_barrier() {
    arrived_ = 0;
    bool any = false;
    for (int i = 0; i < threads_; ++i) {
      if (pool_[i]->site != pool_[0]->site) {
        throw Failure("threads meet at different barriers: " + pool_[0]->site->text() + " and " + pool_[i]->site->text());
      }
      any |= pool_[i]->given != 0;
    }
    for (int i = 0; i < threads_; ++i) {
      pool_[i]->any = any;
      pool_[i]->state = State::kReady;
    }
  }

  void release_warp(Thread& thread) {
    const unsigned mask = thread.mask;
    const int first = static_cast<int>(thread.index.x) / kLanes * kLanes;
    Warp& warp = warps_[first / kLanes];
    if (++warp.waiting < __builtin_popcount(mask)) return;
    for (int lane = 0; lane < kLanes; ++lane) {
      if ((mask >> lane & 1u) == 0) continue;
      if (first + lane >= threads_) throw Failure(thread.site->text() + ": names a lane that the block does not have");
      const Thread& other = *pool_[first + lane];
      if (other.state != State::kInWarp || other.site != thread.site || other.mask != mask) return;
    }
    uint64_t values[kLanes] = {};
    for (int lane = 0; lane < kLanes; ++lane) {
      if ((mask >> lane & 1u) != 0) values[lane] = pool_[first + lane]->given;
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      if ((mask >> lane & 1u) == 0) continue;
      std::memcpy(pool_[first + lane]->received, values, sizeof(values));
      pool_[first + lane]->state = State::kReady;
      --warp.waiting;
    }
  }

  std::string describe_standstill() const {
    std::map<std::string, int> waiting;
    for (int i = 0; i < threads_; ++i) ++waiting[pool_[i]->site->text()];
    std::string text = "divergence, no thread can go on:";
    for (const auto& [where, count] : waiting) text += " " + std::to_string(count) + " wait for " + where + ";";
    text.back() = '.';
    return text;
  }

  struct Warp {
    int waiting = 0;  // lanes that wait for others
  };

  Fiber program_;
  std::vector<std::unique_ptr<Thread>> pool_;
  Warp warps_[kMostThreads / kLanes];
  SharedMemory shared_;
  std::mt19937 random_;
  const std::function<void()>* kernel_ = nullptr;
  Thread* current_ = nullptr;
  std::string failure_;
  int threads_ = 0;
  int arrived_ = 0;
  int done_ = 0;
  size_t dynamic_bytes_ = 0;
  dim3 block_index_, block_dim_, grid_dim_;
  char launch_tag_ = 0, done_tag_ = 0, barrier_tags_[2] = {};
};

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
  if (bytes > 0) std::memset(data, 0, bytes);
}

inline float float_of_half_bits(uint16_t bits) { return static_cast<float>(on_host::from_slot<_Float16>(bits)); }
inline uint16_t half_bits_of_float(float value) { return static_cast<uint16_t>(on_host::to_slot(static_cast<_Float16>(value))); }

}  // namespace captum_proto::cuda
