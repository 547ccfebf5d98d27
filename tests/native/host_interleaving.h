// Lets another thread go on at any access to memory: the compiler's instrumentation for ThreadSanitizer (-fsanitize=thread, without
// its library), answered here.
//
// What the kernel reads and writes in shared and in global memory, atomically or not, is preceded by a call of one of these
// functions. They are not instrumented themselves; what the machinery does is, and is told apart by is_watched().
#pragma once

#include <cstdint>

#include "host_machine.h"
#include "host_traffic.h"

#define ON_HOST_HOOK extern "C" __attribute__((no_sanitize("thread"), noinline))

namespace on_host {

enum Access { kReads = 1, kWrites = 2 };

__attribute__((no_sanitize("thread"))) inline void before_access(const volatile void* address, size_t size, int access) {
  if (!is_watched()) return;
  is_watched() = false;
  Traffic::instance().access(address, size, (access & kReads) != 0, (access & kWrites) != 0);
  Machine::instance().before_access();
  is_watched() = true;
}

}  // namespace on_host

#define ON_HOST_PLAIN_HOOKS(size)                                                                                                \
  ON_HOST_HOOK void __tsan_read##size(void* address) { ::on_host::before_access(address, size, ::on_host::kReads); }             \
  ON_HOST_HOOK void __tsan_write##size(void* address) { ::on_host::before_access(address, size, ::on_host::kWrites); }           \
  ON_HOST_HOOK void __tsan_unaligned_read##size(void* address) { ::on_host::before_access(address, size, ::on_host::kReads); }   \
  ON_HOST_HOOK void __tsan_unaligned_write##size(void* address) { ::on_host::before_access(address, size, ::on_host::kWrites); } \
  ON_HOST_HOOK void __tsan_volatile_read##size(void* address) { ::on_host::before_access(address, size, ::on_host::kReads); }    \
  ON_HOST_HOOK void __tsan_volatile_write##size(void* address) { ::on_host::before_access(address, size, ::on_host::kWrites); }  \
  ON_HOST_HOOK void __tsan_unaligned_volatile_read##size(void* address) {                                                        \
    ::on_host::before_access(address, size, ::on_host::kReads);                                                                  \
  }                                                                                                                              \
  ON_HOST_HOOK void __tsan_unaligned_volatile_write##size(void* address) {                                                       \
    ::on_host::before_access(address, size, ::on_host::kWrites);                                                                 \
  }

ON_HOST_PLAIN_HOOKS(1)
ON_HOST_PLAIN_HOOKS(2)
ON_HOST_PLAIN_HOOKS(4)
ON_HOST_PLAIN_HOOKS(8)
ON_HOST_PLAIN_HOOKS(16)

ON_HOST_HOOK void __tsan_init() {}
ON_HOST_HOOK void __tsan_func_entry(void*) {}
ON_HOST_HOOK void __tsan_func_exit() {}
ON_HOST_HOOK void __tsan_read_range(void* address, unsigned long size) {
  ::on_host::before_access(address, size, ::on_host::kReads);
}
ON_HOST_HOOK void __tsan_write_range(void* address, unsigned long size) {
  ::on_host::before_access(address, size, ::on_host::kWrites);
}
ON_HOST_HOOK void __tsan_vptr_read(void**) {}
ON_HOST_HOOK void __tsan_vptr_update(void**, void*) {}
ON_HOST_HOOK void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
ON_HOST_HOOK void __tsan_atomic_signal_fence(int) {}

#define ON_HOST_ATOMIC_OPERATION(bits, name)                                                                              \
  ON_HOST_HOOK uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t* address, uint##bits##_t value, int) { \
    ::on_host::before_access(address, bits / 8, ::on_host::kReads | ::on_host::kWrites);                                  \
    return __atomic_##name(address, value, __ATOMIC_SEQ_CST);                                                             \
  }

#define ON_HOST_ATOMIC_HOOKS(bits)                                                                                           \
  ON_HOST_HOOK uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t* address, int) {                      \
    ::on_host::before_access(address, bits / 8, ::on_host::kReads);                                                          \
    return __atomic_load_n(address, __ATOMIC_SEQ_CST);                                                                       \
  }                                                                                                                          \
  ON_HOST_HOOK void __tsan_atomic##bits##_store(volatile uint##bits##_t* address, uint##bits##_t value, int) {               \
    ::on_host::before_access(address, bits / 8, ::on_host::kWrites);                                                         \
    __atomic_store_n(address, value, __ATOMIC_SEQ_CST);                                                                      \
  }                                                                                                                          \
  ON_HOST_HOOK int __tsan_atomic##bits##_compare_exchange_strong(volatile uint##bits##_t* address, uint##bits##_t* expected, \
                                                                 uint##bits##_t desired, int, int) {                         \
    ::on_host::before_access(address, bits / 8, ::on_host::kReads | ::on_host::kWrites);                                     \
    return __atomic_compare_exchange_n(address, expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);               \
  }                                                                                                                          \
  ON_HOST_HOOK int __tsan_atomic##bits##_compare_exchange_weak(volatile uint##bits##_t* address, uint##bits##_t* expected,   \
                                                               uint##bits##_t desired, int, int) {                           \
    ::on_host::before_access(address, bits / 8, ::on_host::kReads | ::on_host::kWrites);                                     \
    return __atomic_compare_exchange_n(address, expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);               \
  }                                                                                                                          \
  ON_HOST_HOOK uint##bits##_t __tsan_atomic##bits##_exchange(volatile uint##bits##_t* address, uint##bits##_t value, int) {  \
    ::on_host::before_access(address, bits / 8, ::on_host::kReads | ::on_host::kWrites);                                     \
    return __atomic_exchange_n(address, value, __ATOMIC_SEQ_CST);                                                            \
  }                                                                                                                          \
  ON_HOST_ATOMIC_OPERATION(bits, fetch_add)                                                                                  \
  ON_HOST_ATOMIC_OPERATION(bits, fetch_sub)                                                                                  \
  ON_HOST_ATOMIC_OPERATION(bits, fetch_and)                                                                                  \
  ON_HOST_ATOMIC_OPERATION(bits, fetch_or)                                                                                   \
  ON_HOST_ATOMIC_OPERATION(bits, fetch_xor)

ON_HOST_ATOMIC_HOOKS(8)
ON_HOST_ATOMIC_HOOKS(16)
ON_HOST_ATOMIC_HOOKS(32)
ON_HOST_ATOMIC_HOOKS(64)
