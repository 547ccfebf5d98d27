// Fibers, and what the sanitizers are told of them.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define ON_HOST_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__) && !defined(ON_HOST_INTERLEAVED)
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

namespace on_host {

constexpr size_t kStack = 256 * 1024;

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

#if ON_HOST_INTERLEAVED
/// Whether what is read and written now is the kernel's doing.
inline bool& is_watched() {
  static bool watched = false;
  return watched;
}
#endif

/// The machinery's own reads and writes do not belong to the kernel.
struct Unwatched {
#if ON_HOST_INTERLEAVED
  Unwatched() : before_(is_watched()) { is_watched() = false; }
  ~Unwatched() { is_watched() = before_; }
  Unwatched(const Unwatched&) = delete;
  Unwatched& operator=(const Unwatched&) = delete;

 private:
  bool before_;
#elif ON_HOST_TSAN
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

/// What is read and written from here on is the kernel's doing.
struct Watched {
#if ON_HOST_INTERLEAVED
  Watched() { is_watched() = true; }
  ~Watched() { is_watched() = false; }
#else
  Watched() {}
  ~Watched() {}
#endif
};

}  // namespace on_host
