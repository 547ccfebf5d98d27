// A least-significant-digit radix sort of keys that carry a payload.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace captum_proto {

/// A 32-bit key above a 32-bit payload: one word to move.
class PackedItem {
 public:
  using Key = std::uint32_t;
  PackedItem() = default;
  PackedItem(Key key, std::uint32_t payload) : word_(std::uint64_t{key} << 32 | payload) {}
  Key key() const { return static_cast<Key>(word_ >> 32); }
  std::uint32_t payload() const { return static_cast<std::uint32_t>(word_); }

 private:
  std::uint64_t word_;
};

/// A 64-bit key beside its payload.
class WideItem {
 public:
  using Key = std::uint64_t;
  WideItem() = default;
  WideItem(Key key, std::uint32_t payload) : key_(key), payload_(payload) {}
  Key key() const { return key_; }
  std::uint32_t payload() const { return payload_; }

 private:
  Key key_;
  std::uint32_t payload_;
};

template <class Key>
struct ItemWithKey {
  using type = PackedItem;
};
template <>
struct ItemWithKey<std::uint64_t> {
  using type = WideItem;
};
template <class Key>
using Item = typename ItemWithKey<Key>::type;

/// Moves items to where `destination` says.
///
/// A loop that stores each item as soon as it knows the place is three times slower where places cluster: the processor cannot tell
/// that the store leaves the counters alone, and holds the next counter back until it can. So places are found for a few items at a
/// time, and only then stored to.
template <class Item, class Destination>
void scatter(const Item* items, std::size_t count, Item* out, Destination destination) {
  constexpr std::size_t kGroup = 8;
  std::size_t i = 0;
  for (; i + kGroup <= count; i += kGroup) {
    std::uint32_t places[kGroup];
    for (std::size_t j = 0; j < kGroup; ++j) places[j] = destination(items[i + j]);
    for (std::size_t j = 0; j < kGroup; ++j) out[places[j]] = items[i + j];
  }
  for (; i < count; ++i) out[destination(items[i])] = items[i];
}

/// How keys are cut into digits.
struct DigitPlan {
  static constexpr int kMaxPasses = 8;
  static constexpr int kMaxWidth = 11;  // 2,048 counters and as many places to write to still suit the first-level caches
  static constexpr std::size_t kMaxCounters = kMaxPasses << kMaxWidth;

  int passes = 0;
  int width = 0;

  /// The cheapest cut for `count` keys of `bits` bits: a pass costs about two units of time for each item, and one for each
  /// counter.
  DigitPlan(std::size_t count, int bits) {
    std::size_t best = ~std::size_t{0};
    for (int candidate = (bits + kMaxWidth - 1) / kMaxWidth; candidate <= kMaxPasses && candidate <= bits; ++candidate) {
      const int candidate_width = (bits + candidate - 1) / candidate;
      const std::size_t cost = candidate * (2 * count + (std::size_t{1} << candidate_width));
      if (cost < best) {
        best = cost;
        passes = candidate;
        width = candidate_width;
      }
    }
  }
};

/// Sorts items by key: count() them all, in as many calls as suits, then sort() them.
template <class Item>
class RadixSort {
 public:
  /// `counters` has room for DigitPlan::kMaxCounters.
  RadixSort(DigitPlan plan, std::uint32_t* counters) : plan_(plan), counters_(counters) {
    std::fill_n(counters_, plan_.passes * radix(), 0u);
  }

  void count(const Item* items, std::size_t count) {
    count_ += count;
    switch (plan_.passes) {  // a number of passes known to the compiler lets it unroll the inner loop
      case 1:
        return count_digits(items, count, std::integral_constant<int, 1>());
      case 2:
        return count_digits(items, count, std::integral_constant<int, 2>());
      case 3:
        return count_digits(items, count, std::integral_constant<int, 3>());
      case 4:
        return count_digits(items, count, std::integral_constant<int, 4>());
      default:
        return count_digits(items, count, plan_.passes);
    }
  }

  /// Uses `other` as the second buffer; returns the buffer that holds the sorted items.
  Item* sort(Item* items, Item* other) {
    for (int pass = 0; pass < plan_.passes; ++pass) {
      std::uint32_t* next = counters_ + pass * radix();
      const int shift = pass * plan_.width;
      const Key mask = this->mask();
      if (next[items[0].key() >> shift & mask] == count_) continue;  // all items share this digit
      std::uint32_t begin = 0;
      for (std::size_t digit = 0; digit < radix(); ++digit) begin += std::exchange(next[digit], begin);
      scatter(items, count_, other, [=](const Item& item) { return next[item.key() >> shift & mask]++; });
      std::swap(items, other);
    }
    return items;
  }

 private:
  using Key = typename Item::Key;

  std::size_t radix() const { return std::size_t{1} << plan_.width; }
  Key mask() const { return (Key{1} << plan_.width) - 1; }

  template <class Passes>
  void count_digits(const Item* items, std::size_t count, Passes passes) {
    // Copies, as for all the compiler knows a counter might be one of the members.
    std::uint32_t* const counters = counters_;
    const int width = plan_.width;
    const Key mask = this->mask();
    for (std::size_t i = 0; i < count; ++i) {
      const Key key = items[i].key();
      for (int pass = 0; pass < passes; ++pass) ++counters[(std::size_t(pass) << width) + (key >> (pass * width) & mask)];
    }
  }

  DigitPlan plan_;
  std::uint32_t* counters_;
  std::size_t count_ = 0;
};

}  // namespace captum_proto
