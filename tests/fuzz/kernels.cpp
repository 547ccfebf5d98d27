// The CPU kernels under AddressSanitizer and UndefinedBehaviorSanitizer, on what a fuzzer gives: shapes, strides and bits of
// values.
//
// The checks are those of ../native/cpu_kernels.cpp, against naive implementations in the same program; what they draw at random
// there is here taken from the fuzzer's bytes, so that libFuzzer finds the values at which a kernel takes another branch. What does
// not agree, and what a sanitizer sees, ends the program.
//
//   clang++ -fsanitize=fuzzer,address,undefined     the program is libFuzzer's
//   c++ -DCAPTUM_PROTO_OWN_DRIVER …                 kernels SECONDS SEED: bytes at random, without regard to coverage
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

namespace {

/// Numbers from the fuzzer's bytes, eight at a time, fewer at the end; then from a generator that goes on from these, for some
/// distributions draw again until they like what they get.
class Bytes {
 public:
  using result_type = std::uint64_t;
  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return std::numeric_limits<result_type>::max(); }

  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}

  std::uint8_t byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }

  result_type operator()() {
    if (left_ > 0) {
      const std::size_t count = left_ < sizeof(result_type) ? left_ : sizeof(result_type);
      result_type value = 0;
      std::memcpy(&value, data_, count);
      data_ += count;
      left_ -= count;
      state_ = state_ * 31 + value;
      return value;
    }
    state_ += 0x9e3779b97f4a7c15u;  // splitmix64
    result_type z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
  result_type state_ = 0;
};

}  // namespace

#define CAPTUM_PROTO_RANDOM Bytes
#include "../native/cpu_kernels.cpp"

namespace {

template <class T>
void rows(const char* dtype, Bytes& bytes) {
  const int kind = bytes.byte() % kKinds;
  const std::size_t size = (std::size_t{bytes.byte()} << (bytes.byte() % 4)) + bytes.byte();
  check_rows<T>(dtype, size, static_cast<Kind>(kind), bytes);
}

ImageShape shape_of(Bytes& bytes) {
  const auto side = [&](int most) { return static_cast<std::int64_t>(bytes.byte() % (most + 1)); };
  return ImageShape{side(2), side(5), side(40), side(40)};
}

template <class T>
void images(const char* dtype, Bytes& bytes) {
  const ImageShape shape = shape_of(bytes);
  const std::uint8_t layout = bytes.byte();
  if (layout % 2 == 0) check_images<T, 1>(dtype, shape, layout & 2, bytes);
  if (layout % 2 != 0) check_images<T, 2>(dtype, shape, layout & 2, bytes);
}

template <class T>
void samples(const char* dtype, Bytes& bytes) {
  const ImageShape shape = shape_of(bytes);
  const std::uint8_t layout = bytes.byte();
  if (layout % 3 == 0) check_samples<Border::kConstant, T>(dtype, shape, layout & 4, layout & 8, bytes);
  if (layout % 3 == 1) check_samples<Border::kReflect, T>(dtype, shape, layout & 4, layout & 8, bytes);
  if (layout % 3 == 2) check_samples<Border::kReplicate, T>(dtype, shape, layout & 4, layout & 8, bytes);
}

template <class T>
void activations(const char* dtype, Bytes& bytes) {
  const std::uint8_t first = bytes.byte();
  streams::check_activations<T>(
      dtype, bytes, expect, value_of,
      [&](std::vector<T>& values, int kind) { fill(values, static_cast<Kind>((kind + first) % kKinds), bytes); }, 1);
}

/// What is tried, by the fuzzer's first byte.
void one(Bytes& bytes) {
  switch (bytes.byte() % 16) {
    case 0:
      return rows<float>("float32", bytes);
    case 1:
      return rows<double>("float64", bytes);
    case 2:
      return rows<Half>("float16", bytes);
    case 3:
      return rows<BFloat16>("bfloat16", bytes);
    case 4:
      return images<float>("float32", bytes);
    case 5:
      return images<double>("float64", bytes);
    case 6:
      return images<Half>("float16", bytes);
    case 7:
      return samples<float>("float32", bytes);
    case 8:
      return samples<double>("float64", bytes);
    case 9:
      return activations<float>("float32", bytes);
    case 10:
      return activations<Half>("float16", bytes);
    case 11:
      return streams::check_lists<float, true>(bytes, expect);
    case 12:
      return streams::check_lists<double, false>(bytes, expect);
    case 13:
      return concepts::check_counts<float>(bytes, expect);
    case 14:
      return concepts::check_counts<double>(bytes, expect);
    default:
      return concepts::check_packed(bytes, expect);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  one(bytes);
  if (failures > 0) std::abort();
  return 0;
}

#ifdef CAPTUM_PROTO_OWN_DRIVER
#include <chrono>

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 1;
  std::mt19937_64 chance(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0);
  const auto begun = std::chrono::steady_clock::now();
  long executions = 0;
  for (; std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count() < seconds; ++executions) {
    std::vector<std::uint8_t> data(chance() % 600);
    for (std::uint8_t& byte : data) byte = static_cast<std::uint8_t>(chance());
    // Bits that are alike are what ties, zeros and infinities are made of.
    if (chance() % 3 == 0 && data.size() > 8)
      std::fill(data.begin() + 8, data.end(), static_cast<std::uint8_t>(chance() % 2 ? 0 : 0xff));
    LLVMFuzzerTestOneInput(data.data(), data.size());
  }
  std::printf("%ld executions, %ld rows\n", executions, rows_tried);
  return 0;
}
#endif
