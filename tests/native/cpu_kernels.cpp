// The CPU kernels by themselves, without PyTorch: against naive implementations, or on values from standard input.
//
//   cpu_kernels check SEED                            prints what went wrong, and how many rows were tried
//   cpu_kernels rank DTYPE N D       < values         writes doubled ranks, int32
//   cpu_kernels spearman DTYPE N D   < values, ranks  writes N float64; D doubled ranks of int32 follow the values
//
//   cpu_kernels capability                            writes which of the processor's instructions are used
//
// Compiled with sanitizers, once for this processor and once for a model of AVX-512.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check_concepts.h"
#include "check_dealing.h"
#include "check_streams.h"
#include "kernels/cpu/affine_sample.h"
#include "kernels/cpu/high_frequency_loss.h"
#include "kernels/cpu/rows.h"

using namespace captum_proto;

namespace {

int failures = 0;
long rows_tried = 0;

void expect(bool holds, const std::string& what) {
  if (!holds && ++failures <= 20) std::printf("FAILED: %s\n", what.c_str());
}

bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

// ---- naive implementations ----

/// The value of a 16-bit float with that many bits of exponent and significand, by arithmetic.
double value_of_16_bits(std::uint16_t bits, int exponent_bits, int significand_bits) {
  const int exponent = bits >> significand_bits & ((1 << exponent_bits) - 1);
  const double significand = bits & ((1 << significand_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  double value;
  if (exponent == (1 << exponent_bits) - 1) {
    value = significand == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    value = std::ldexp(significand, 1 - bias - significand_bits);
  } else {
    value = std::ldexp(significand + (1 << significand_bits), exponent - bias - significand_bits);
  }
  return bits >> 15 ? -value : value;
}
double value_of(Half x) { return value_of_16_bits(x.bits, 5, 10); }
double value_of(BFloat16 x) { return value_of_16_bits(x.bits, 8, 7); }
double value_of(float x) { return x; }
double value_of(double x) { return x; }

std::vector<std::int32_t> naive_ranks(const std::vector<double>& values) {
  const std::size_t size = values.size();
  std::vector<std::int32_t> ranks(size, 0);
  if (std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); })) return ranks;
  std::vector<double> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 0; i < size; ++i) {
    const auto range = std::equal_range(sorted.begin(), sorted.end(), values[i]);
    ranks[i] = static_cast<std::int32_t>((range.first - sorted.begin()) + (range.second - sorted.begin()) + 1);
  }
  return ranks;
}

double naive_spearman(const std::vector<std::int32_t>& u, const std::vector<std::int32_t>& q) {
  if (u.empty() || u[0] == 0 || q[0] == 0) return NAN;
  const long mean = static_cast<long>(u.size()) + 1;
  Int128 uq = 0, uu = 0, qq = 0;
  for (std::size_t i = 0; i < u.size(); ++i) {
    uq += Int128{u[i] - mean} * (q[i] - mean);
    uu += Int128{u[i] - mean} * (u[i] - mean);
    qq += Int128{q[i] - mean} * (q[i] - mean);
  }
  const double rho = static_cast<double>(uq) / std::sqrt(static_cast<double>(uu) * static_cast<double>(qq));
  return std::isnan(rho) ? rho : std::max(-1.0, std::min(1.0, rho));
}

// ---- rows to try ----

#ifdef CAPTUM_PROTO_RANDOM  // tests/fuzz/kernels.cpp: what a fuzzer gives, in place of chance
using Random = CAPTUM_PROTO_RANDOM;
#else
using Random = std::mt19937_64;
#endif

/// Values that only float formats of T can hold exactly are drawn as T.
template <class T>
T narrow(double value) {
  return Narrow<T>::from(static_cast<Wide<T>>(value));
}

enum Kind {
  kDense,
  kRelu,
  kTies,
  kZeros,
  kSmallest,
  kInfinities,
  kNaN,
  kConstant,
  kAnyBits,
  kNegative,
  kClamped,
  kOneZero,
  kKinds
};
const char* const kKindNames[] = {"dense", "relu",     "ties",     "zeros",    "smallest", "infinities",
                                  "nan",   "constant", "any bits", "negative", "clamped",  "one zero"};

template <class T>
void fill(std::vector<T>& row, Kind kind, Random& random) {
  std::normal_distribution<double> normal;
  for (T& x : row) {
    double v = normal(random);
    switch (kind) {
      case kRelu:
        v = std::max(v, 0.0);
        break;
      case kTies:
        v = std::round(3 * v);
        break;
      case kZeros:
        v = random() % 2 ? v : random() % 2 ? 0.0 : -0.0;
        break;
      case kInfinities:
        v = random() % 4 ? v : v * INFINITY;
        break;
      case kConstant:
        v = 3;
        break;
      case kNegative:
        v = -std::abs(v) - 0.01;
        break;
      case kClamped:
        v = std::min(std::max(4 * v, 0.0), 6.0);
        break;
      default:
        break;
    }
    x = narrow<T>(v);
    typename FloatFormat<T>::Bits bits;
    if (kind == kSmallest || kind == kAnyBits) {
      // Subnormals and zeros of both signs, or anything but NaN.
      bits = static_cast<decltype(bits)>(random());
      const auto sign = static_cast<decltype(bits)>(bits & ~SignMagnitude<T>::kMagnitudeMask);
      const auto limit = kind == kSmallest ? 20 : static_cast<std::uint64_t>(FloatFormat<T>::kInfinity) + 1;
      bits = static_cast<decltype(bits)>(sign | (bits & SignMagnitude<T>::kMagnitudeMask) % limit);
      std::memcpy(&x, &bits, sizeof(x));
    }
  }
  if (kind == kNaN && !row.empty()) row[random() % row.size()] = narrow<T>(NAN);
  if (kind == kOneZero && !row.empty()) row[random() % row.size()] = narrow<T>(-0.0);
}

/// Runs `body` in a thread of its own: its workspace is fresh, so that sanitizers see every buffer at its exact size.
void in_fresh_thread(const std::function<void()>& body) { std::thread(body).join(); }

/// Every worker but the first is a thread.
void in_threads(std::size_t workers, const Team::Work& work) {
  std::vector<std::thread> threads;
  for (std::size_t worker = 1; worker < workers; ++worker) threads.emplace_back(work, worker);
  work(0);
  for (std::thread& thread : threads) thread.join();
}

/// One row by several workers, against the same by one call for the row alone, to the bit.
template <class T>
void check_together(Rows<T> x, const RankedRow& reference, const std::vector<float>& mean, std::size_t workers,
                    const std::string& where) {
  const std::size_t size = x.size;
  const Rows<float> means{mean.data(), size, 0, 1};
  const Rows<std::int32_t> references{reference.ranks, size, 0, 1};
  std::vector<std::int32_t> ranks(size, -1), expected_ranks(size, -1);
  std::vector<double> float_ranks(size, -1), expected_float_ranks(size, -1);
  double rho[3] = {-7, -7, -7}, l1 = -7, expected_rho = -7, expected_l1 = -7;
  path_distance_rows(x, means, references, &reference, 0, 1, &expected_rho, &expected_l1);
  rank_rows(x, 0, 1, expected_ranks.data());
  float_rank_rows(x, 0, 1, expected_float_ranks.data());
  const Team team{workers, in_threads};
  in_fresh_thread([&] { rank_row_together(x, 0, ranks.data(), team); });
  in_fresh_thread([&] { float_rank_row_together(x, 0, float_ranks.data(), team); });
  spearman_row_together(x, references, &reference, 0, &rho[0], team);
  in_fresh_thread([&] { spearman_row_together(x, references, nullptr, 0, &rho[1], team); });
  in_fresh_thread([&] { path_distance_row_together(x, means, references, nullptr, 0, &rho[2], &l1, team); });
  const std::string what = " by " + std::to_string(workers) + " workers, of " + where;
  expect(ranks == expected_ranks, "ranks" + what);
  expect(std::equal(float_ranks.begin(), float_ranks.end(), expected_float_ranks.begin(), same), "float ranks" + what);
  for (const double each : rho) expect(same(each, expected_rho), "Spearman" + what);
  expect(same(l1, expected_l1), "L1" + what);
  const RankedRow summary = summarize_ranks_together(reference.ranks, size, team);
  expect(summary.sum == reference.sum && summary.squares == reference.squares && summary.has_nan == reference.has_nan,
         "summary" + what);
}

template <class T>
void check_rows(const char* dtype, std::size_t size, Kind kind, Random& random) {
  constexpr std::int64_t n = 3;
  const auto length = static_cast<std::int64_t>(size);
  std::vector<T> x(n * size);
  fill(x, kind, random);
  std::vector<double> reference(size);
  for (double& v : reference) v = random() % 2 ? 0.0 : static_cast<double>(random() % (size + 1));
  const std::vector<std::int32_t> q = naive_ranks(reference);
  std::vector<float> mean(size);
  for (float& v : mean) v = static_cast<float>(random() % 1000) / 7;
  const std::string where = std::string(dtype) + ", " + kKindNames[kind] + ", D = " + std::to_string(size);

  const Rows<T> rows{x.data(), size, length, 1};
  const Rows<std::int32_t> no_rows{};
  std::vector<std::int32_t> ranks(n * size, -1);
  std::vector<double> float_ranks(n * size, -1), rho(n, -7), rho_again(n, -7), rho_each(n, -7), l1(n, -7);
  const RankedRow shared(q.data(), size);
  in_fresh_thread([&] { rank_rows(rows, 0, n, ranks.data()); });
  in_fresh_thread([&] { float_rank_rows(rows, 0, n, float_ranks.data()); });
  in_fresh_thread([&] { spearman_rows(rows, no_rows, &shared, 0, n, rho.data()); });
  in_fresh_thread([&] { spearman_rows(rows, Rows<std::int32_t>{q.data(), size, 0, 1}, nullptr, 0, n, rho_each.data()); });
  // Two threads at once, and rows in another order.
  std::thread other([&] { spearman_rows(rows, no_rows, &shared, 1, n, rho_again.data()); });
  path_distance_rows(rows, Rows<float>{mean.data(), size, 0, 1}, no_rows, &shared, 0, 1, rho_again.data(), l1.data());
  other.join();
  path_distance_rows(rows, Rows<float>{mean.data(), size, 0, 1}, no_rows, &shared, 0, n, rho_again.data(), l1.data());

  for (std::int64_t i = 0; i < n; ++i) {
    std::vector<double> values(size);
    for (std::size_t j = 0; j < size; ++j) values[j] = value_of(x[i * size + j]);
    const std::vector<std::int32_t> expected = naive_ranks(values);
    expect(std::equal(expected.begin(), expected.end(), ranks.begin() + i * length), "ranks of " + where);
    for (std::size_t j = 0; j < size; ++j) {
      const double rank = expected[j] == 0 ? NAN : expected[j] / 2.0;
      if (!same(rank, float_ranks[i * size + j])) expect(false, "float ranks of " + where);
    }
    const double expected_rho = naive_spearman(expected, q);
    expect(same(rho[i], expected_rho), "Spearman of " + where);
    expect(same(rho_each[i], expected_rho), "Spearman, row against row, of " + where);
    expect(same(rho_again[i], expected_rho), "Spearman in path_distance of " + where);
    long double distance = 0;
    for (std::size_t j = 0; j < size; ++j) distance += std::fabs(static_cast<long double>(values[j]) - mean[j]);
    const double expected_l1 = static_cast<double>(distance);
    expect(same(l1[i], expected_l1) || std::fabs(l1[i] - expected_l1) <= 1e-12 * expected_l1, "L1 of " + where);
    ++rows_tried;
  }

  // Starting threads takes long, so only some rows are tried.
  const std::size_t workers = 1 + random() % 4;
  if (size >= 1024 || random() % 8 == 0) check_together(rows, shared, mean, workers, where);
  if (size >= 2049) {  // every second value, from the last on
    const std::size_t half = size / 2 + 1;
    const std::vector<std::int32_t> half_q = naive_ranks(std::vector<double>(reference.begin(), reference.begin() + half));
    check_together(Rows<T>{x.data() + size - 1, half, 0, -2}, RankedRow(half_q.data(), half), mean, workers, where + ", strided");
  }

  // Every second value of rows that run backwards in memory, one after another, and one row expanded.
  if (size >= 2) {
    const std::size_t half = size / 2;
    std::vector<std::int32_t> strided(n * half), expanded(2 * size);
    in_fresh_thread([&] { rank_rows(Rows<T>{x.data() + (n - 1) * size, half, -length, 2}, 0, n, strided.data()); });
    in_fresh_thread([&] { rank_rows(Rows<T>{x.data(), size, 0, 1}, 0, 2, expanded.data()); });
    for (std::int64_t i = 0; i < n; ++i) {
      std::vector<double> values(half);
      for (std::size_t j = 0; j < half; ++j) values[j] = value_of(x[(n - 1 - i) * size + 2 * j]);
      const std::vector<std::int32_t> expected = naive_ranks(values);
      expect(std::equal(expected.begin(), expected.end(), strided.begin() + i * static_cast<std::int64_t>(half)),
             "ranks, strided, of " + where);
    }
    expect(std::equal(expanded.begin(), expanded.begin() + length, ranks.begin()) &&
               std::equal(expanded.begin() + length, expanded.end(), ranks.begin()),
           "ranks, expanded, of " + where);
  }
}

// ---- images ----

template <class T, int power>
void check_images(const char* dtype, ImageShape shape, bool channels_last, Random& random) {
  using Value = Wide<T>;
  const std::int64_t plane = shape.h * shape.w, image = shape.c * plane;
  const ImageStrides strides =
      channels_last ? ImageStrides{image, 1, shape.w * shape.c, shape.c} : ImageStrides{image, plane, shape.w, 1};
  std::vector<T> pixels(static_cast<std::size_t>(shape.n * image)), gradients(pixels.size());
  fill(pixels, kTies, random);
  const std::string where = std::string(dtype) + ", power " + std::to_string(power) + ", " + std::to_string(shape.c) + " x " +
                            std::to_string(shape.h) + " x " + std::to_string(shape.w) + (channels_last ? ", channels_last" : "");

  const bool interleaved = strides.interleaves_channels(shape);
  const Images<const T> view(pixels.data(), shape, strides, interleaved);
  const Images<T> out(gradients.data(), shape, strides, interleaved);
  const std::int64_t units = view.lines.units(), all = shape.n * units;
  std::vector<UnitSums> sums(static_cast<std::size_t>(all)), sums_again(sums.size());
  std::vector<Value> scale(static_cast<std::size_t>(shape.n));
  for (Value& s : scale) s = static_cast<Value>(random() % 9) - 4;
  in_fresh_thread([&] { high_frequency_units<T, power>(view, 0, all, sums.data()); });
  for (std::int64_t i = all; i-- > 0;) high_frequency_units<T, power>(view, i, i + 1, sums_again.data());
  expect(all == 0 || std::memcmp(sums.data(), sums_again.data(), sums.size() * sizeof(UnitSums)) == 0, "order of sums of " + where);
  in_fresh_thread([&] { high_frequency_gradient_units<T, power>(view, out, scale.data(), 0, all); });

  const auto at = [&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
    return n * strides.n + c * strides.c + h * strides.h + w * strides.w;
  };
  const auto pixel = [&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
    return static_cast<Value>(value_of(pixels[at(n, c, h, w)]));
  };
  const auto slope_of = [](Value d) { return power == 1 ? static_cast<Value>((d > 0) - (d < 0)) : 2 * d; };
  const auto cost = [](Value d) { return static_cast<double>(power == 1 ? std::fabs(d) : d * d); };
  const double vertical_pairs = shape.c * (shape.h - 1) * shape.w, horizontal_pairs = shape.c * shape.h * (shape.w - 1);
  for (std::int64_t n = 0; n < shape.n; ++n) {
    double vertical = 0, horizontal = 0;
    const Value v = scale[n] / static_cast<Value>(vertical_pairs), h_scale = scale[n] / static_cast<Value>(horizontal_pairs);
    for (std::int64_t c = 0; c < shape.c; ++c) {
      for (std::int64_t h = 0; h < shape.h; ++h) {
        for (std::int64_t w = 0; w < shape.w; ++w) {
          const Value x = pixel(n, c, h, w);
          Value gradient = 0;
          if (h > 0) gradient += slope_of(x - pixel(n, c, h - 1, w)) * v;
          if (h + 1 < shape.h) {
            vertical += cost(pixel(n, c, h + 1, w) - x);
            gradient -= slope_of(pixel(n, c, h + 1, w) - x) * v;
          }
          if (w > 0) gradient += slope_of(x - pixel(n, c, h, w - 1)) * h_scale;
          if (w + 1 < shape.w) {
            horizontal += cost(pixel(n, c, h, w + 1) - x);
            gradient -= slope_of(pixel(n, c, h, w + 1) - x) * h_scale;
          }
          const T expected = narrow<T>(gradient);
          expect(std::memcmp(&expected, &gradients[at(n, c, h, w)], sizeof(T)) == 0, "gradient of " + where);
        }
      }
    }
    double expected = 0;
    if (vertical_pairs > 0) expected += vertical / vertical_pairs;
    if (horizontal_pairs > 0) expected += horizontal / horizontal_pairs;
    const double loss = high_frequency_loss_of_image<Value>(shape, sums.data() + n * units, units);
    expect(std::fabs(loss - expected) <= (sizeof(Value) == 8 ? 1e-12 : 1e-6) * expected, "loss of " + where);
  }
}

/// Where a coordinate is along a side of `size` pixels of an image that goes on.
template <Border border>
double within(double coordinate, std::int64_t size) {
  if (border == Border::kConstant) return coordinate;
  const double last = static_cast<double>(size - 1), period = static_cast<double>(2 * size);
  if (border == Border::kReflect && !(coordinate >= 0 && coordinate <= last)) {
    const double from_edge = coordinate + 0.5, repetition = (from_edge / period + kRounder) - kRounder;
    coordinate = std::abs(from_edge - repetition * period) - 0.5;
  }
  return coordinate > 0 ? std::min(coordinate, last) : 0;
}

/// Samples and gradients of any shape, map and layout, in one band and in several, pixel by pixel with the kernels' roundings.
template <Border border, class T>
void check_samples(const char* dtype, ImageShape shape, bool in_last, bool out_last, Random& random) {
  const std::int64_t plane = shape.h * shape.w, image = shape.c * plane, size = shape.n * image;
  const auto strides_of = [&](bool last) {
    return last ? ImageStrides{image, 1, shape.w * shape.c, shape.c} : ImageStrides{image, plane, shape.w, 1};
  };
  const ImageStrides in_strides = strides_of(in_last), out_strides = strides_of(out_last);
  const auto place = [](const ImageStrides& strides, std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
    return static_cast<std::size_t>(n * strides.n + c * strides.c + h * strides.h + w * strides.w);
  };
  const std::string where = std::string("affine samples, border ") + std::to_string(static_cast<int>(border)) + ", " + dtype +
                            ", " + std::to_string(shape.c) + " x " + std::to_string(shape.h) + " x " + std::to_string(shape.w) +
                            (in_last ? ", from channels_last" : "") + (out_last ? ", to channels_last" : "");
  const double special[][6] = {
      {1, 0, 0, 0, 1, 0},     {0, 1, 0, -1, 0, 0},      {0, 0, 0.2, 0, 0, -0.1},   {1, 0, 3, 0, 1, 0},
      {1, 0.3, 0, 0, 0, 0.3}, {NAN, 0, 0, 0, 1, 0},     {1, 0, 0, 0, INFINITY, 0}, {1e308, -1e308, 1e308, 0, 1e308, 0},
      {30, 2, 0, -2, 30, 0},  {1e-9, 0, 0, 0, -1e-9, 0}};
  std::uniform_real_distribution<double> coefficient(-1.5, 1.5);
  for (std::size_t number = 0; number < std::size(special) + 4; ++number) {
    std::vector<double> matrices(static_cast<std::size_t>(6 * shape.n));
    std::vector<AffineMap> maps;
    for (std::int64_t n = 0; n < shape.n; ++n) {
      double* const matrix = matrices.data() + 6 * n;
      for (int k = 0; k < 6; ++k) matrix[k] = number < std::size(special) && n == 0 ? special[number][k] : coefficient(random);
      maps.emplace_back(matrix, shape.h, shape.w);
    }
    std::vector<T> in(static_cast<std::size_t>(size)), out(in.size(), T(-7)), again(in.size(), T(-7)), gradient(in.size(), T(-7));
    std::vector<T> scale(static_cast<std::size_t>(shape.c)), shift(scale.size());
    fill(in, kDense, random);
    fill(scale, kDense, random);
    fill(shift, kDense, random);
    const T fill_value = T(0.3);
    AffineSampling<T> call{shape,     maps.data(), scale.data(), shift.data(), fill_value,
                           in.data(), in_strides,  out.data(),   out_strides,  1};
    in_fresh_thread([&] { affine_sample_units<border>(call, 0, call.units()); });
    call.out = again.data();
    call.bands = std::min<std::int64_t>(3, shape.h);
    in_fresh_thread([&] {
      for (std::int64_t i = call.units(); i-- > 0;) affine_sample_units<border>(call, i, i + 1);
    });
    expect(size == 0 || std::memcmp(out.data(), again.data(), out.size() * sizeof(T)) == 0, "bands of " + where);
    call.fill = 0;
    call.out = gradient.data();
    in_fresh_thread([&] {
      for (std::int64_t i = call.units(); i-- > 0;) affine_sample_gradient_units<border>(call, i, i + 1);
    });
    call.out = again.data();
    call.bands = 1;
    in_fresh_thread([&] { affine_sample_gradient_units<border>(call, 0, call.units()); });
    expect(size == 0 || std::memcmp(gradient.data(), again.data(), out.size() * sizeof(T)) == 0, "gradient's bands of " + where);

    std::vector<T> sums(in.size(), T(0));
    for (std::int64_t n = 0; n < shape.n; ++n) {
      for (std::int64_t i = 0; i < plane; ++i) {
        const AffineMap& map = maps[static_cast<std::size_t>(n)];
        const std::int64_t h = i / shape.w, w = i % shape.w;
        const double row = static_cast<double>(h), column = static_cast<double>(w);
        const double x = within<border>(map.ax * column + (map.bx * row + map.cx), shape.w);
        const double y = within<border>(map.ay * column + (map.by * row + map.cy), shape.h);
        const bool near = x >= -1 && x < static_cast<double>(shape.w) && y >= -1 && y < static_cast<double>(shape.h);
        const std::int64_t left = near ? static_cast<std::int64_t>(std::floor(x)) : 0;
        const std::int64_t top = near ? static_cast<std::int64_t>(std::floor(y)) : 0;
        const T right_weight = static_cast<T>(x - static_cast<double>(left)),
                lower_weight = static_cast<T>(y - static_cast<double>(top));
        for (std::int64_t c = 0; c < shape.c; ++c) {
          T terms[4] = {};
          for (int tap = 0; near && tap < 4; ++tap) {
            const std::int64_t to_row = top + tap / 2, to_column = left + tap % 2;
            if (to_row < 0 || to_row >= shape.h || to_column < 0 || to_column >= shape.w) continue;
            const T weight = (tap / 2 ? lower_weight : 1 - lower_weight) * (tap % 2 ? right_weight : 1 - right_weight);
            terms[tap] = (in[place(in_strides, n, c, to_row, to_column)] - fill_value) * scale[c] * weight;
            sums[place(out_strides, n, c, to_row, to_column)] += in[place(in_strides, n, c, h, w)] * scale[c] * weight;
          }
          const T sample = near ? ((terms[0] + terms[1]) + (terms[2] + terms[3])) + shift[c] : shift[c];
          expect(sample == out[place(out_strides, n, c, h, w)], where);
        }
      }
    }
    for (std::size_t i = 0; i < sums.size(); ++i) expect(sums[i] == gradient[i], "gradient of " + where);
  }
}

/// Every 16-bit float must survive widening and narrowing, and what lies between two of them must go to the nearer, ties to even.
template <class T>
void check_conversion(const char* dtype) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const T x{static_cast<std::uint16_t>(bits)};
    const double value = value_of(x);
    expect(same(widen(x), value), std::string("widening ") + dtype);
    if (std::isnan(value)) {
      expect(std::isnan(value_of(Narrow<T>::from(widen(x)))), std::string("narrowing NaN to ") + dtype);
      continue;
    }
    expect(Narrow<T>::from(widen(x)).bits == bits, std::string("narrowing ") + dtype);
    const std::uint32_t next = bits + 1;
    if ((next & 0x7fff) == 0 || SignMagnitude<T>(T{static_cast<std::uint16_t>(next)}).magnitude >= FloatFormat<T>::kInfinity)
      continue;
    const double next_value = value_of(T{static_cast<std::uint16_t>(next)});
    const float middle = static_cast<float>((value + next_value) / 2);
    if (middle != (value + next_value) / 2) continue;  // below the smallest float
    expect(Narrow<T>::from(middle).bits == (bits % 2 == 0 ? bits : next), std::string("narrowing a tie to ") + dtype);
    expect(Narrow<T>::from(std::nextafter(middle, static_cast<float>(value))).bits == bits,
           std::string("narrowing down to ") + dtype);
    expect(Narrow<T>::from(std::nextafter(middle, static_cast<float>(next_value))).bits == next,
           std::string("narrowing up to ") + dtype);
  }
}

template <class T>
void check_dtype(const char* dtype, Random& random) {
  const std::size_t sizes[] = {0,   1,   2,    3,    31,  32, 33, 34, kLongestShortRow - 1, kLongestShortRow, kLongestShortRow + 1,
                               127, 255, 1000, 1024, 2049};
  for (const std::size_t size : sizes)
    for (int kind = 0; kind < kKinds; ++kind) check_rows<T>(dtype, size, static_cast<Kind>(kind), random);
  for (const Kind kind : {kDense, kRelu, kClamped, kAnyBits}) check_rows<T>(dtype, 20001, kind, random);
  streams::check_activations<T>(
      dtype, random, expect, value_of, [&](std::vector<T>& values, int kind) { fill(values, static_cast<Kind>(kind), random); },
      kKinds);
  for (const bool channels_last : {false, true}) {
    for (const ImageShape& shape : {ImageShape{2, 3, 5, 7}, ImageShape{1, 1, 1, 1}, ImageShape{2, 3, 1, 6}, ImageShape{2, 3, 6, 1},
                                    ImageShape{1, 2, 2, 2}, ImageShape{0, 3, 4, 4}, ImageShape{2, 0, 4, 4}, ImageShape{1, 3, 0, 4},
                                    ImageShape{1, 3, 4, 0}, ImageShape{1, 2, 260, 70}, ImageShape{1, 17, 4, 19}}) {
      check_images<T, 1>(dtype, shape, channels_last, random);
      check_images<T, 2>(dtype, shape, channels_last, random);
      if constexpr (std::is_same_v<T, Wide<T>>) {
        for (const bool to_channels_last : {false, true}) {
          check_samples<Border::kConstant, T>(dtype, shape, channels_last, to_channels_last, random);
          check_samples<Border::kReflect, T>(dtype, shape, channels_last, to_channels_last, random);
          check_samples<Border::kReplicate, T>(dtype, shape, channels_last, to_channels_last, random);
        }
      }
    }
  }
}

// ---- values from standard input ----

template <class T>
std::vector<T> read(std::size_t count) {
  std::vector<T> values(count);
  if (std::fread(values.data(), sizeof(T), count, stdin) != count) {
    std::fprintf(stderr, "standard input ended early\n");
    std::exit(2);
  }
  return values;
}

template <class T>
void write(const std::vector<T>& values) {
  std::fwrite(values.data(), sizeof(T), values.size(), stdout);
}

template <class T>
void run_operator(const std::string& name, std::size_t n, std::size_t size) {
  const std::vector<T> x = read<T>(n * size);
  const Rows<T> rows{x.data(), size, static_cast<std::int64_t>(size), 1};
  if (name == "rank") {
    std::vector<std::int32_t> ranks(n * size);
    rank_rows(rows, 0, static_cast<std::int64_t>(n), ranks.data());
    write(ranks);
  } else {
    const std::vector<std::int32_t> reference = read<std::int32_t>(size);
    const RankedRow shared(reference.data(), size);
    std::vector<double> rho(n);
    spearman_rows(rows, Rows<std::int32_t>{}, &shared, 0, static_cast<std::int64_t>(n), rho.data());
    write(rho);
  }
}

/// Large buffers outlive the leases within a lease, and not the outermost.
void check_leases() {
  constexpr std::size_t kLarge = std::size_t{64} << 20;
  std::thread([] {
    Workspace& workspace = Workspace::of_this_thread();
    {
      const WorkspaceLease outer;
      for (int piece = 0; piece < 2; ++piece) {
        expect(workspace.bytes() == (piece == 0 ? 0 : kLarge), "a piece finds the buffer of the one before");
        const WorkspaceLease inner;
        workspace.get<char>(Workspace::kRow, kLarge);
      }
      expect(workspace.bytes() == kLarge, "the buffer is there until the outermost lease ends");
    }
    expect(workspace.bytes() == 0, "a large buffer is given back when the outermost lease ends");
  }).join();
}

}  // namespace

#ifndef CAPTUM_PROTO_RANDOM
int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "check" && argc == 3) {
    Random random(std::strtoull(argv[2], nullptr, 10));
    check_leases();
    dealing::check_dealing(expect);
    check_conversion<Half>("float16");
    check_conversion<BFloat16>("bfloat16");
    streams::check_lists<float, true>(random, expect);
    streams::check_lists<float, false>(random, expect);
    streams::check_lists<double, true>(random, expect);
    concepts::check_counts<float>(random, expect);
    concepts::check_counts<double>(random, expect);
    concepts::check_packed(random, expect);
    check_dtype<float>("float32", random);
    check_dtype<double>("float64", random);
    check_dtype<Half>("float16", random);
    check_dtype<BFloat16>("bfloat16", random);
    std::printf("%s: %ld rows, %d failures\n", cpu_capability(), rows_tried, failures);
    return failures == 0 ? 0 : 1;
  }
  if (what == "capability" && argc == 2) {
    std::printf("%s\n", cpu_capability());
    return 0;
  }
  if ((what == "rank" || what == "spearman") && argc == 5) {
    const std::string dtype = argv[2];
    const std::size_t n = std::strtoull(argv[3], nullptr, 10), size = std::strtoull(argv[4], nullptr, 10);
    if (dtype == "float16") run_operator<Half>(what, n, size);
    if (dtype == "bfloat16") run_operator<BFloat16>(what, n, size);
    if (dtype == "float32") run_operator<float>(what, n, size);
    if (dtype == "float64") run_operator<double>(what, n, size);
    return 0;
  }
  std::fprintf(stderr, "see the head of cpu_kernels.cpp for how to call this\n");
  return 2;
}
#endif
