// A GPU's block: threads that are fibers, barriers, warps, shared memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "host_fiber.h"
#include "host_traffic.h"

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

namespace on_host {

constexpr int kLanes = 32;
constexpr int kMostThreads = 1024;
constexpr size_t kMostShared = 48 * 1024;   // what every GPU gives without being asked
constexpr unsigned char kUnwritten = 0xa5;  // fills memory that nothing has written

/// The kernels broke a rule of CUDA's.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
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
  int warp_barriers = 0;           // how many of its warp's

  int warp() const { return static_cast<int>(index.x) / kLanes; }
  int lane() const { return static_cast<int>(index.x) % kLanes; }
};

/// The order in which threads run that could run: warp after warp, upwards or downwards, each as far as it gets; by chance, each as
/// far as it gets; or by chance, and at any access to memory another thread, most often of the same warp, may go on.
enum class Schedule { kAscending, kDescending, kShuffled, kInterleaved };

constexpr const char* kSchedules[] = {"ascending", "descending", "shuffled", "interleaved"};

inline Schedule schedule_of(const std::string& name) {
  const int number = static_cast<int>(std::find(std::begin(kSchedules), std::end(kSchedules), name) - std::begin(kSchedules));
  if (number == 4) throw Failure("no schedule is called " + name);
#if !ON_HOST_INTERLEAVED
  if (number == 3) throw Failure("threads interleave only in a program that is compiled with host_interleaving.h");
#endif
  return static_cast<Schedule>(number);
}

class Machine {
 public:
  static Machine& instance() {
    static Machine* machine = new Machine;  // never destroyed, nor are fibers that wait for their next block
    return *machine;
  }

  Schedule schedule = Schedule::kAscending;
  unsigned seed = 0;
  int64_t launches = 0;
  int64_t most_blocks = 0x7fffffff;  // the kernels' loops must do what a smaller grid leaves over

  /// Executes kernel() by every thread of every block.
  void run(const char* name, int64_t blocks, int threads, size_t dynamic_bytes, const std::function<void()>& kernel) {
    if (blocks < 1 || blocks > 0x7fffffff) throw Failure(std::string(name) + ": a grid of " + std::to_string(blocks));
    if (threads < 1 || threads > kMostThreads) {
      throw Failure(std::string(name) + ": a block of " + std::to_string(threads) + " threads");
    }
    if (dynamic_bytes > kMostShared) throw Failure(std::string(name) + ": too much dynamic shared memory");
    ++launches;
    Traffic::instance().start(name);
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
        throw Failure(std::string(name) + ", block " + std::to_string(block_index_.x) + ", schedule " +
                      kSchedules[static_cast<int>(schedule)] + ", seed " + std::to_string(seed) + ": " + failure.what());
      }
    }
  }

  Thread& current() { return *__atomic_load_n(&current_, __ATOMIC_RELAXED); }
  const dim3& block_index() const { return block_index_; }
  const dim3& block_dim() const { return block_dim_; }
  const dim3& grid_dim() const { return grid_dim_; }
  int lane() { return current().lane(); }

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

  /// Waits for the lanes of `mask`, and orders their memory.
  void sync_warp(const Site* site, unsigned mask) {
    Thread& thread = current();
    // Two tags in turn, as for the block's barriers; each lane says which one is its.
    const int turn = thread.warp_barriers++ % 2;
    happens_before(&lane_tags_[thread.warp()][thread.lane()][turn]);
    const uint64_t* turns = exchange(site, mask, static_cast<uint64_t>(turn));
    for (int lane = 0; lane < kLanes; ++lane) {
      if ((mask >> lane & 1u) != 0) happens_after(&lane_tags_[thread.warp()][lane][turns[lane]]);
    }
  }

  /// Called before each access of the kernel's to memory, by what host_interleaving.h hooks in.
  void before_access() {
    if (schedule != Schedule::kInterleaved || --accesses_left_ > 0) return;
    current().fiber.switch_to(program_);
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
      {
        const Watched watched;
        (*machine.kernel_)();
      }
      happens_before(&machine.done_tag_);
      Unwatched unwatched;
      machine.wait(thread, State::kDone, &kEnd);
    }
  }

  void wait(Thread& thread, State state, const Site* site) {
    thread.state = state;
    thread.site = site;
    ready_[thread.warp()] &= ~(1u << thread.lane());
    thread.fiber.switch_to(program_);
  }

  void run_block() {
    shared_.clear();
    failure_.clear();
    arrived_ = 0;
    done_ = 0;
    for (Warp& warp : warps_) warp.waiting = 0;
    for (int i = 0; i < threads_; ++i) {
      make_ready(*pool_[i]);
      pool_[i]->barriers = pool_[i]->warp_barriers = 0;
    }
    happens_before(&launch_tag_);
    if (schedule == Schedule::kInterleaved) {
      run_interleaved();
    } else {
      run_in_turn();
    }
    happens_after(&done_tag_);
  }

  /// Every thread as far as it gets, in the schedule's order.
  void run_in_turn() {
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
  }

  /// A thread that is chosen by chance for a number of accesses that is, and so on. In some blocks each access is followed by one
  /// of another thread's, in others threads get far: mistakes need the one or the other.
  void run_interleaved() {
    const unsigned most_accesses = 1u << random_() % 8;
    int warp = 0;
    while (done_ < threads_) {
      Thread* const thread = any_ready(warp);
      if (thread == nullptr) throw Failure(describe_standstill());
      warp = thread->warp();
      accesses_left_ = 1 + random_() % most_accesses;
      run_thread(*thread);
    }
  }

  /// Any thread that can run, seven times of eight one of `warp`; null if there is none.
  Thread* any_ready(int warp) {
    const unsigned warps = static_cast<unsigned>((threads_ + kLanes - 1) / kLanes);
    if (ready_[warp] == 0 || random_() % 8 == 0) {
      const unsigned first = static_cast<unsigned>(random_() % warps);
      for (unsigned i = 0; i < warps; ++i) {
        if (ready_[(first + i) % warps] == 0) continue;
        warp = static_cast<int>((first + i) % warps);
        break;
      }
    }
    uint32_t lanes = ready_[warp];
    if (lanes == 0) return nullptr;
    for (unsigned skip = static_cast<unsigned>(random_()) % static_cast<unsigned>(__builtin_popcount(lanes)); skip > 0; --skip) {
      lanes &= lanes - 1;
    }
    return pool_[static_cast<size_t>(warp * kLanes + __builtin_ctz(lanes))].get();
  }

  void make_ready(Thread& thread) {
    thread.state = State::kReady;
    ready_[thread.warp()] |= 1u << thread.lane();
  }

  /// Runs each lane of a warp, in the given order, up to where it must wait; false if all wait already.
  bool run_lanes(int warp, const std::vector<int>& lanes) {
    bool moved = false;
    for (const int lane : lanes) {
      if (warp * kLanes + lane >= threads_) continue;
      Thread& thread = *pool_[warp * kLanes + lane];
      if (thread.state != State::kReady) continue;
      moved = true;
      run_thread(thread);
    }
    return moved;
  }

  void run_thread(Thread& thread) {
    __atomic_store_n(&current_, &thread, __ATOMIC_RELAXED);
    program_.switch_to(thread.fiber);
    if (!failure_.empty()) throw Failure(failure_);
    settle(thread);
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
      make_ready(*pool_[i]);
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
      make_ready(*pool_[first + lane]);
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
  uint32_t ready_[kMostThreads / kLanes] = {};  // the lanes of each warp that can run
  uint64_t accesses_left_ = 0;                  // of the thread that runs, before another may
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
  char launch_tag_ = 0, done_tag_ = 0, barrier_tags_[2] = {}, lane_tags_[kMostThreads / kLanes][kLanes][2] = {};
};

}  // namespace on_host
