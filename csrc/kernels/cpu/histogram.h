// Rows whose values take few distinct steps, as those of half-precision floats do, need no sort: a histogram ranks them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "../limits.h"
#include "float_keys.h"

namespace captum_proto {

/// Whether `count` values other than zero, with keys up to `largest_key`, are cheaper to count than to sort.
template <class Key>
bool worth_a_histogram(std::size_t count, Key largest_key) {
  return largest_key < kBins && largest_key < 2 * count;
}

/// Where values are counted: in the bin of their key, or for zeros in one of a few more bins, past the last.
template <class T>
class BinOf {
 public:
  explicit BinOf(const KeyMap<T>& key) : key_(key), zero_bin_(static_cast<std::uint32_t>(key.largest_key()) + 1) {}
  std::size_t bins() const { return zero_bin_ + kZeroBins; }
  std::size_t zero_bin() const { return zero_bin_; }

  /// Calls visit(i, bin) for all values of the row. Zeros have the same bin throughout, or if `take_turns`, several.
  template <class Visit>
  void for_each(const T* row, std::size_t size, bool take_turns, Visit visit) const {
    // Bins are found by the block, in a loop that compilers vectorize, and then visited.
    constexpr std::size_t kBlock = 256;
    std::uint32_t bins[kBlock];
    const std::uint32_t turns = take_turns ? kZeroBins : 1;
    for (std::size_t begin = 0; begin < size; begin += kBlock) {
      const std::size_t length = std::min(kBlock, size - begin);
      for (std::size_t i = 0; i < length; ++i) {
        const SignMagnitude<T> value(row[begin + i]);
        const std::uint32_t if_zero =
            0u - static_cast<std::uint32_t>(value.magnitude == 0);  // a mask, as no branch could be predicted
        const std::uint32_t zero_bin = zero_bin_ + (static_cast<std::uint32_t>(i) & (turns - 1));
        bins[i] = (static_cast<std::uint32_t>(key_(value)) & ~if_zero) | (zero_bin & if_zero);
      }
      for (std::size_t i = 0; i < length; ++i) visit(begin + i, bins[i]);
    }
  }

 private:
  /// After a ReLU zeros follow zeros. Taking turns they need not wait for one another's counts to be stored.
  static constexpr std::uint32_t kZeroBins = 8;

  KeyMap<T> key_;
  std::uint32_t zero_bin_;
};

/// Calls visit(bin, count, begin) for every bin that holds values, in ascending order of its values; for zeros, with the first of
/// theirs.
template <class T, class CountOf, class Visit>
void visit_bins(const BinOf<T>& bin_of, const Survey<T>& survey, CountOf count_of, Visit visit) {
  std::size_t begin = 0;
  bool zeros_due = survey.zeros > 0;
  for (std::size_t bin = 0; bin < bin_of.zero_bin(); ++bin) {
    if (zeros_due && begin == survey.negatives) {
      visit(bin_of.zero_bin(), survey.zeros, begin);
      begin += survey.zeros;
      zeros_due = false;
    }
    const std::size_t count = count_of(bin);
    if (count == 0) continue;
    visit(bin, count, begin);
    begin += count;
  }
  if (zeros_due) visit(bin_of.zero_bin(), survey.zeros, begin);
}

}  // namespace captum_proto
