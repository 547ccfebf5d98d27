// Runs the CUDA operators on the host, one request after the other, for tests/native/cuda_harness.py.
//
// A request is a line of words, and for each tensor a line and its storage's bytes:
//     operator schedule seed most_blocks power short_row histogram_row separate_row parted_row part_room chunk_values
//     outputs_alone farthest scratch_bytes tensors
// (a limit of -1 is the kernels' own)
//     dtype offset dimensions sizes… strides… bytes
// The answer is "ok tensors", and for each a line with its bytes and the bytes; or "error" and a sentence.

// clang-format off
#include "cuda_on_host.h"  // before the kernels, whose platform it is
#if ON_HOST_INTERLEAVED
#include "host_interleaving.h"
#endif
// clang-format on

#include <iostream>
#include <sstream>

#include "../../csrc/kernels/cuda/accumulate.cuh"
#include "../../csrc/kernels/cuda/affine_gather.cuh"
#include "../../csrc/kernels/cuda/affine_sample.cuh"
#include "../../csrc/kernels/cuda/concept_counts.cuh"
#include "../../csrc/kernels/cuda/high_frequency_loss.cuh"
#include "../../csrc/kernels/cuda/packed_counts.cuh"
#include "../../csrc/kernels/cuda/path_distance.cuh"
#include "../../csrc/kernels/cuda/radix_counts.cuh"
#include "../../csrc/kernels/cuda/top_k.cuh"
#include "../../csrc/kernels/cuda/unit_summary.cuh"
#include "broken_kernels.h"

namespace captum_proto::cuda {

// ---- The library's sorts -----------------------------------------------------------------------------------------------------

namespace {

int64_t sorts = 0;

/// The library reads all keys once, and moves all items once for each eight bits.
void note_sort(int64_t count, int bits, size_t key_bytes, size_t item_bytes) {
  ++sorts;
  const int64_t moved = count * static_cast<int64_t>(item_bytes) * ((bits + 7) / 8);
  on_host::Traffic::instance().add("the library's radix sort", count * static_cast<int64_t>(key_bytes) + moved, moved);
}

void require_sort(bool holds, const char* what) {
  if (!holds) throw on_host::Failure(std::string("the library's sort was given ") + what);
}

/// A sort of an odd number of passes ends in the other buffer, and leaves nothing of use in the first.
template <typename T>
void end_in_spare(Buffers<T>& buffers, int64_t count) {
  std::copy(buffers.current, buffers.current + count, buffers.spare);
  std::memset(static_cast<void*>(buffers.current), on_host::kUnwritten, static_cast<size_t>(count) * sizeof(T));
  std::swap(buffers.current, buffers.spare);
}

/// With memory that was asked for.
void sort_items_now(Buffers<uint64_t>& items, int64_t count, int begin_bit, int end_bit) {
  require_sort(0 <= begin_bit && begin_bit < end_bit && end_bit <= 64, "bits that a 64-bit integer does not have");
  require_sort(0 < count && count < (int64_t{1} << 32), "too many items");
  note_sort(count, end_bit - begin_bit, sizeof(uint64_t), sizeof(uint64_t));
  const int width = end_bit - begin_bit;
  const uint64_t mask = width == 64 ? ~uint64_t{0} : ((uint64_t{1} << width) - 1);
  std::stable_sort(items.current, items.current + count,
                   [&](uint64_t a, uint64_t b) { return (a >> begin_bit & mask) < (b >> begin_bit & mask); });
  if ((width + 7) / 8 % 2 == 1) end_in_spare(items, count);
}

template <typename Key, typename Payload>
void sort_pairs_now(Buffers<Key>& keys, Buffers<Payload>& payloads, int64_t count, int begin_bit, int end_bit) {
  require_sort(0 <= begin_bit && begin_bit < end_bit && end_bit <= 8 * static_cast<int>(sizeof(Key)),
               "bits that a key does not have");
  require_sort(0 < count && count < (int64_t{1} << 32), "too many items");
  note_sort(count, end_bit - begin_bit, sizeof(Key), sizeof(Key) + sizeof(Payload));
  const Key mask = static_cast<Key>(~Key{0} >> (8 * static_cast<int>(sizeof(Key)) - (end_bit - begin_bit)));
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return (keys.current[a] >> begin_bit & mask) < (keys.current[b] >> begin_bit & mask);
  });
  for (int64_t i = 0; i < count; ++i) {
    keys.spare[i] = keys.current[order[static_cast<size_t>(i)]];
    payloads.spare[i] = payloads.current[order[static_cast<size_t>(i)]];
  }
  std::swap(keys.current, keys.spare);
  std::swap(payloads.current, payloads.spare);
  if ((end_bit - begin_bit + 7) / 8 % 2 == 0) {  // back where they came from
    end_in_spare(keys, count);
    end_in_spare(payloads, count);
  }
}

/// Calls sort(begin, length) for each segment that is not empty.
template <class Sort>
void for_segments(int64_t count, const Segments& segments, const Sort& sort) {
  require_sort(count < (int64_t{1} << 31) && segments.count < (int64_t{1} << 31), "too many items or segments");
  for (int64_t i = 0; i < segments.count; ++i) {
    require_sort(0 <= segments.begins[i] && segments.begins[i] <= segments.ends[i] && segments.ends[i] <= count,
                 "a segment that is not in the array");
    if (segments.begins[i] < segments.ends[i]) sort(segments.begins[i], segments.ends[i] - segments.begins[i]);
  }
}

}  // namespace

void sort_items(Buffers<uint64_t>& items, int64_t count, int begin_bit, int end_bit, SortMemory& memory, Scratch& scratch,
                cudaStream_t /*stream*/) {
  memory.reserve(static_cast<size_t>(count / 8), scratch);
  sort_items_now(items, count, begin_bit, end_bit);
}

template <typename Key, typename Payload>
void sort_pairs(Buffers<Key>& keys, Buffers<Payload>& payloads, int64_t count, int begin_bit, int end_bit, SortMemory& memory,
                Scratch& scratch, cudaStream_t /*stream*/) {
  memory.reserve(static_cast<size_t>(count / 8), scratch);
  sort_pairs_now(keys, payloads, count, begin_bit, end_bit);
}

/// The other buffer is then the current one, and holds nothing of use outside the segments.
void sort_segments(Buffers<uint64_t>& items, int64_t count, const Segments& segments, int begin_bit, int end_bit,
                   SortMemory& memory, Scratch& scratch, cudaStream_t /*stream*/, bool only_reserve) {
  memory.reserve(static_cast<size_t>(segments.count), scratch);
  if (only_reserve) return;
  std::memset(static_cast<void*>(items.spare), on_host::kUnwritten, static_cast<size_t>(count) * sizeof(uint64_t));
  for_segments(count, segments, [&](int64_t begin, int64_t length) {
    std::copy(items.current + begin, items.current + begin + length, items.spare + begin);
    std::memset(static_cast<void*>(items.current + begin), on_host::kUnwritten, static_cast<size_t>(length) * sizeof(uint64_t));
    std::vector<uint64_t> other(static_cast<size_t>(length));
    Buffers<uint64_t> segment{items.spare + begin, other.data()};
    sort_items_now(segment, length, begin_bit, end_bit);
    if (segment.current != items.spare + begin) std::copy(segment.current, segment.current + length, items.spare + begin);
  });
  std::swap(items.current, items.spare);
}

template <typename Key, typename Payload>
void sort_segments(Buffers<Key>& keys, Buffers<Payload>& payloads, int64_t count, const Segments& segments, int begin_bit,
                   int end_bit, SortMemory& memory, Scratch& scratch, cudaStream_t /*stream*/, bool only_reserve) {
  memory.reserve(static_cast<size_t>(segments.count), scratch);
  if (only_reserve) return;
  std::memset(static_cast<void*>(keys.spare), on_host::kUnwritten, static_cast<size_t>(count) * sizeof(Key));
  std::memset(static_cast<void*>(payloads.spare), on_host::kUnwritten, static_cast<size_t>(count) * sizeof(Payload));
  for_segments(count, segments, [&](int64_t begin, int64_t length) {
    std::vector<Key> sorted_keys(keys.current + begin, keys.current + begin + length), other_keys(sorted_keys);
    std::vector<Payload> sorted_payloads(payloads.current + begin, payloads.current + begin + length);
    std::vector<Payload> other_payloads(sorted_payloads);
    Buffers<Key> segment_keys{sorted_keys.data(), other_keys.data()};
    Buffers<Payload> segment_payloads{sorted_payloads.data(), other_payloads.data()};
    sort_pairs_now(segment_keys, segment_payloads, length, begin_bit, end_bit);
    std::copy(segment_keys.current, segment_keys.current + length, keys.spare + begin);
    std::copy(segment_payloads.current, segment_payloads.current + length, payloads.spare + begin);
    std::memset(static_cast<void*>(keys.current + begin), on_host::kUnwritten, static_cast<size_t>(length) * sizeof(Key));
    std::memset(static_cast<void*>(payloads.current + begin), on_host::kUnwritten, static_cast<size_t>(length) * sizeof(Payload));
  });
  std::swap(keys.current, keys.spare);
  std::swap(payloads.current, payloads.spare);
}

}  // namespace captum_proto::cuda

// ---- Requests ----------------------------------------------------------------------------------------------------------------

namespace {

using namespace captum_proto::cuda;

/// Memory of exactly the size asked for, so that AddressSanitizer sees every step beyond; filled with what nobody wrote.
class Memory {
 public:
  explicit Memory(size_t size) : size_(size), data_(static_cast<unsigned char*>(std::malloc(size))) {
    if (size > 0) std::memset(data_.get(), on_host::kUnwritten, size);
    on_host::Traffic::instance().allocated(data_.get(), size);
  }
  ~Memory() { on_host::Traffic::instance().freed(data_.get()); }
  Memory(Memory&&) = default;
  unsigned char* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(unsigned char* data) const { std::free(data); }
  };
  size_t size_;
  std::unique_ptr<unsigned char, Free> data_;
};

/// Memory of which there is only so much.
class HostScratch : public Scratch {
 public:
  explicit HostScratch(int64_t limit) : limit_(static_cast<size_t>(limit)) {}

  void* bytes(size_t size) override {
    if (size > limit_ - held_) throw OutOfMemory("out of scratch memory");
    held_ += size;
    memory_.emplace_back(size);
    return memory_.back().data();
  }
  size_t taken() const override { return memory_.size(); }
  void give_back(size_t count) override {
    for (; memory_.size() > count; memory_.pop_back()) held_ -= memory_.back().size();
  }

 private:
  size_t limit_;
  size_t held_ = 0;
  std::vector<Memory> memory_;
};

struct Tensor {
  std::string dtype;
  int64_t offset = 0;
  std::vector<int64_t> sizes, strides;
  std::unique_ptr<Memory> storage;

  template <typename T>
  T* data() const {
    return reinterpret_cast<T*>(storage->data()) + offset;
  }
  template <typename T>
  Rows<T> rows() const {
    return sizes.size() == 1 ? Rows<T>{data<T>(), 0, strides[0]} : Rows<T>{data<T>(), strides[0], strides[1]};
  }
  /// The axes `unit`, `outer` and `inner` of three.
  template <typename T>
  UnitValues<T> units(size_t unit, size_t outer, size_t inner) const {
    return UnitValues<T>{data<T>(), sizes[unit], sizes[outer], sizes[inner], strides[unit], strides[outer], strides[inner]};
  }
  Layout layout() const { return Layout{sizes[0], sizes[1], sizes[2], sizes[3], strides[0], strides[1], strides[2], strides[3]}; }
};

Tensor read_tensor(std::istream& in) {
  Tensor tensor;
  std::string line;
  std::getline(in, line);
  std::istringstream words(line);
  size_t dimensions = 0;
  size_t bytes = 0;
  words >> tensor.dtype >> tensor.offset >> dimensions;
  tensor.sizes.resize(dimensions);
  tensor.strides.resize(dimensions);
  for (int64_t& size : tensor.sizes) words >> size;
  for (int64_t& stride : tensor.strides) words >> stride;
  words >> bytes;
  if (!words) throw std::runtime_error("a tensor's line cannot be read: " + line);
  tensor.storage = std::make_unique<Memory>(bytes);
  in.read(reinterpret_cast<char*>(tensor.storage->data()), static_cast<std::streamsize>(bytes));
  return tensor;
}

template <typename T>
struct Type {
  using type = T;
};

template <class Function>
void for_floating(const std::string& dtype, const Function& function) {
  if (dtype == "float32") return function(Type<float>{});
  if (dtype == "float64") return function(Type<double>{});
  if (dtype == "float16") return function(Type<Half>{});
  if (dtype == "bfloat16") return function(Type<BFloat16>{});
  throw std::runtime_error("dtype " + dtype);
}

/// The last tensor says how the result lies, and is filled.
template <captum_proto::Border border, typename T>
void sample(bool backward, int outputs_alone, int64_t farthest, const std::vector<Tensor>& tensors) {
  const Tensor& images = tensors.at(0);
  const Tensor& matrix = tensors.at(1);
  const Tensor& result = tensors.back();
  const bool is_double = matrix.dtype == "float64";
  const void* const matrix_data =
      is_double ? static_cast<const void*>(matrix.data<double>()) : static_cast<const void*>(matrix.data<float>());
  const Matrices matrices{matrix_data, is_double, matrix.strides[0], matrix.strides[1], matrix.strides[2]};
  const auto channels = [](const Tensor& values) { return ChannelValues<T>{values.data<const T>(), values.strides[0]}; };
  if (backward) {
    affine_sample_backward<border>(images.data<const T>(), images.layout(), matrices, channels(tensors.at(2)), result.layout(),
                                   result.data<T>(), nullptr, outputs_alone, farthest);
  } else {
    affine_sample<border>(images.data<const T>(), images.layout(), matrices, channels(tensors.at(2)), channels(tensors.at(3)),
                          *tensors.at(4).data<double>(), result.layout(), result.data<T>(), nullptr, farthest);
  }
}

template <typename T>
void sample_with_border(int border, bool backward, int outputs_alone, int64_t farthest, const std::vector<Tensor>& tensors) {
  using captum_proto::Border;
  if (border == 1) return sample<Border::kReflect, T>(backward, outputs_alone, farthest, tensors);
  if (border == 2) return sample<Border::kReplicate, T>(backward, outputs_alone, farthest, tensors);
  sample<Border::kConstant, T>(backward, outputs_alone, farthest, tensors);
}

template <typename T>
void fill_lists(bool largest, const std::vector<Tensor>& tensors) {
  const Tensor& scores = tensors.at(0);
  const TopLists<T> lists{scores.data<T>(), tensors.at(1).data<int64_t>(), tensors.at(2).data<int64_t>(), scores.sizes[0],
                          scores.sizes[1]};
  const Tensor& new_scores = tensors.at(3);
  top_k(lists, new_scores.rows<T>(), tensors.at(4).rows<int64_t>(), tensors.at(5).rows<int64_t>(), new_scores.sizes[0], largest,
        nullptr);
}

template <typename T>
void count(const std::vector<Tensor>& tensors) {
  const UnitValues<T> x = tensors.at(1).units<T>(0, 1, 2);
  if (tensors.at(0).dtype == "int32") {
    radix_histogram(x, tensors[0].data<int32_t>(), nullptr);
  } else {
    radix_histogram(x, tensors[0].data<int64_t>(), nullptr);
  }
}

template <typename T>
void select(const std::vector<Tensor>& tensors) {
  const Tensor &counts = tensors.at(0), &filled = tensors.at(1), &kept = tensors.at(2), &first = tensors.at(4),
               &slots = tensors.at(5);
  const Selection<T> selection{first.data<int64_t>(), slots.data<int64_t>(),  slots.sizes[0], counts.data<int64_t>(),
                               counts.sizes[0],       filled.data<int64_t>(), kept.data<T>(), kept.sizes[0]};
  radix_select(tensors[3].units<T>(0, 1, 2), selection, nullptr);
}

template <typename T>
void count_labels(bool align_corners, const std::vector<Tensor>& tensors, int64_t* hits) {
  const Tensor &counts = tensors.at(0), &x = tensors.at(1), &labels = tensors.at(3);
  const ActivationMaps<T> maps{x.data<const T>(), x.sizes[0],   x.sizes[1],   x.sizes[2],  x.sizes[3],
                               x.strides[0],      x.strides[1], x.strides[2], x.strides[3]};
  const LabelMaps of_images{labels.data<const int16_t>(), labels.sizes[1], labels.sizes[2], labels.sizes[3], counts.sizes[1]};
  concept_counts(maps, tensors.at(2).data<const double>(), of_images, align_corners, counts.data<int64_t>(), hits, nullptr);
}

/// Some operators change their first tensors in place: how many; 0 for others.
size_t filled_by(const std::string& name) {
  if (name == "radix_histogram" || name == "accumulate") return 1;
  return name == "top_k" || name == "radix_select" ? 3 : 0;
}

void fill(const std::string& name, bool largest, const std::vector<Tensor>& tensors) {
  if (name == "top_k") {
    if (tensors.at(0).dtype == "float64") {
      fill_lists<double>(largest, tensors);
    } else {
      fill_lists<float>(largest, tensors);
    }
    return;
  }
  for_floating(tensors.at(name == "radix_select" ? 3 : 1).dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    if (name == "accumulate") {
      const Tensor& rows = tensors.at(1);
      accumulate(rows.rows<T>(), rows.sizes[0], rows.sizes[1], tensors[0].data<double>(), nullptr);
    } else if (name == "radix_histogram") {
      count<T>(tensors);
    } else {
      select<T>(tensors);
    }
  });
}

/// Where one way of working gives over to the next, and how much scratch memory there is.
struct Limits {
  Plan plan;
  int outputs_alone = kOutputsAlone;
  int64_t farthest = kFarthestIn32Bits;
  int64_t scratch_bytes = std::numeric_limits<int64_t>::max();
};

std::vector<Memory> answer(const std::string& name, int power, const Limits& limits, const std::vector<Tensor>& tensors) {
  const Plan& plan = limits.plan;
  std::vector<Memory> results;
  int64_t& launches = on_host::Machine::instance().launches;
  if (name == "launches") {  // and sorts of the operator before
    results.emplace_back(2 * sizeof(int64_t));
    reinterpret_cast<int64_t*>(results[0].data())[0] = launches;
    reinterpret_cast<int64_t*>(results[0].data())[1] = captum_proto::cuda::sorts;
    return results;
  }
  if (name == "traffic") {  // of the operator before
    std::string text;
    for (const auto& [launch, bytes] : on_host::Traffic::instance().launches()) {
      text += launch + "\t" + std::to_string(bytes.read) + "\t" + std::to_string(bytes.written) + "\n";
    }
    results.emplace_back(text.size());
    std::memcpy(results[0].data(), text.data(), text.size());
    return results;
  }
  launches = captum_proto::cuda::sorts = 0;
  on_host::Traffic::instance().clear();
  if (name.rfind("broken:", 0) == 0) {
    results.push_back(Memory(sizeof(int32_t) * broken::kThreads));
    broken::run(name.substr(7), reinterpret_cast<int32_t*>(results[0].data()));
    return results;
  }
  if (name == "affine_sample" || name == "affine_sample_backward") {
    const bool backward = name == "affine_sample_backward";
    if (tensors.at(0).dtype == "float64") {
      sample_with_border<double>(power, backward, limits.outputs_alone, limits.farthest, tensors);
    } else {
      sample_with_border<float>(power, backward, limits.outputs_alone, limits.farthest, tensors);
    }
    const Memory& filled = *tensors.back().storage;
    results.emplace_back(filled.size());
    if (filled.size() > 0) std::memcpy(results[0].data(), filled.data(), filled.size());
    return results;
  }
  if (name == "packed_counts") {
    const auto packed = [](const Tensor& masks) {
      return PackedRows{masks.data<const int64_t>(), masks.sizes[0], masks.sizes[1], masks.strides[0]};
    };
    const PackedRows a = packed(tensors.at(0)), b = packed(tensors.at(1));
    results.emplace_back(static_cast<size_t>(a.rows * b.rows) * sizeof(int64_t));
    packed_counts(a, b, reinterpret_cast<int64_t*>(results[0].data()), nullptr);
    return results;
  }
  if (name == "unit_concept_counts") {
    const Tensor &counts = tensors.at(0), &x = tensors.at(1);
    results.emplace_back(counts.storage->size());
    results.emplace_back(static_cast<size_t>(x.sizes[0] * x.sizes[1]) * sizeof(int64_t));
    int64_t* const hits = reinterpret_cast<int64_t*>(results[1].data());
    if (x.dtype == "float64") {
      count_labels<double>(power == 1, tensors, hits);
    } else {
      count_labels<float>(power == 1, tensors, hits);
    }
    if (results[0].size() > 0) std::memcpy(results[0].data(), counts.storage->data(), results[0].size());
    return results;
  }
  if (const size_t filled = filled_by(name); filled > 0) {
    fill(name, power == 1, tensors);
    for (size_t i = 0; i < filled; ++i) {
      const Memory& memory = *tensors.at(i).storage;
      results.emplace_back(memory.size());
      if (memory.size() > 0) std::memcpy(results.back().data(), memory.data(), memory.size());
    }
    return results;
  }
  HostScratch scratch(limits.scratch_bytes);
  for_floating(tensors.at(name == "high_frequency_loss_backward" ? 1 : 0).dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const Tensor& x = tensors[0];
    const int64_t rows = x.sizes[0];
    const int length = static_cast<int>(x.sizes.size() == 2 ? x.sizes[1] : 0);
    const auto result = [&](int64_t count, size_t size) {
      results.emplace_back(static_cast<size_t>(count) * size);
      return static_cast<void*>(results.back().data());
    };
    const auto correlate = [&](const Tensor& reference) {
      const Rows<int32_t> ranks = reference.rows<int32_t>();
      spearman(x.rows<T>(), ranks, ranks.row_stride == 0 ? 1 : rows, rows, length,
               static_cast<double*>(result(rows, sizeof(double))), plan, scratch, nullptr);
    };
    if (name == "doubled_rank") {
      doubled_rank(x.rows<T>(), rows, length, static_cast<int32_t*>(result(rows * length, sizeof(int32_t))), plan, scratch,
                   nullptr);
    } else if (name == "rank") {
      rank(x.rows<T>(), rows, length, static_cast<double*>(result(rows * length, sizeof(double))), plan, scratch, nullptr);
    } else if (name == "spearman") {
      correlate(tensors.at(1));
    } else if (name == "path_distance") {
      const Rows<int32_t> ranks = tensors.at(2).rows<int32_t>();
      double* const correlations = static_cast<double*>(result(rows, sizeof(double)));
      double* const distances = static_cast<double*>(result(rows, sizeof(double)));
      const auto measure = [&](const auto& mean) {
        path_distance(x.rows<T>(), mean, ranks, ranks.row_stride == 0 ? 1 : rows, rows, length, correlations, distances, plan,
                      scratch, nullptr);
      };
      if (tensors[1].dtype == "float32") {
        measure(tensors[1].rows<float>());
      } else {
        measure(tensors[1].rows<double>());
      }
    } else if (name == "unit_summary") {
      const int64_t tasks = x.sizes[0] * x.sizes[1];
      Wide<T>* const largest = static_cast<Wide<T>*>(result(tasks, sizeof(Wide<T>)));
      int64_t* const position = static_cast<int64_t*>(result(tasks, sizeof(int64_t)));
      unit_summary(x.units<T>(1, 0, 2),
                   SummaryOutputs<Wide<T>>{largest, position, static_cast<Wide<T>*>(result(tasks, sizeof(Wide<T>)))}, nullptr);
    } else if (name == "high_frequency_loss") {
      high_frequency_loss(x.data<const T>(), x.layout(), power, static_cast<Wide<T>*>(result(rows, sizeof(Wide<T>))), scratch,
                          nullptr, limits.farthest);
    } else if (name == "high_frequency_loss_backward") {
      // The third tensor says how the gradient lies, and is filled.
      const Tensor& images = tensors.at(1);
      const Tensor& gradient = tensors.at(2);
      high_frequency_loss_backward(tensors[0].data<const Wide<T>>(), tensors[0].strides[0], images.data<const T>(), images.layout(),
                                   power, gradient.layout(), gradient.data<T>(), nullptr, limits.farthest);
      std::memcpy(result(static_cast<int64_t>(gradient.storage->size()), 1), gradient.storage->data(), gradient.storage->size());
    } else {
      throw std::runtime_error("no operator " + name);
    }
  });
  return results;
}

template <typename Limit>
void read_limit(std::istream& words, Limit& limit) {
  Limit asked = -1;
  words >> asked;
  if (asked >= 0) limit = asked;
}

}  // namespace

int main() {
  std::ios::sync_with_stdio(false);
  std::string line;
  while (std::getline(std::cin, line)) {
    try {
      std::istringstream words(line);
      std::string name;
      std::string schedule;
      Limits limits;
      int power = 0;
      int count = 0;
      on_host::Machine& machine = on_host::Machine::instance();
      words >> name >> schedule >> machine.seed >> machine.most_blocks >> power;
      read_limit(words, limits.plan.longest_short_row);
      read_limit(words, limits.plan.shortest_histogram_row);
      read_limit(words, limits.plan.shortest_separate_row);
      read_limit(words, limits.plan.shortest_parted_row);
      read_limit(words, limits.plan.part_room);
      read_limit(words, limits.plan.chunk_values);
      read_limit(words, limits.outputs_alone);
      read_limit(words, limits.farthest);
      read_limit(words, limits.scratch_bytes);
      words >> count;
      if (!words) throw std::runtime_error("a request cannot be read: " + line);
      std::vector<Tensor> tensors;
      for (int i = 0; i < count; ++i) tensors.push_back(read_tensor(std::cin));
      machine.schedule = on_host::schedule_of(schedule);
      const std::vector<Memory> results = answer(name, power, limits, tensors);
      std::cout << "ok " << results.size() << "\n";
      for (const Memory& result : results) {
        std::cout << result.size() << "\n";
        std::cout.write(reinterpret_cast<const char*>(result.data()), static_cast<std::streamsize>(result.size()));
      }
    } catch (const std::exception& problem) {
      std::cout << "error " << problem.what() << "\n";
    }
    std::cout.flush();
  }
  return 0;
}
