// The operators' CPU implementations: tensors in, pointers and strides to the kernels, tensors out.
//
// Built through PyTorch's stable ABI, so one build serves every later PyTorch.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/MemoryFormat.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>
#include <vector>

#include "kernels/accumulate.h"
#include "kernels/affine_sample.h"
#include "kernels/dispatch.h"
#include "kernels/high_frequency_loss.h"
#include "kernels/rows.h"

namespace captum_proto {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t longest_row = int64_t{1} << 28;
/// Pixels of an image to be sampled are numbered in 32 bits, its rim included.
constexpr int64_t most_pixels = int64_t{1} << 31;
/// Below about this many values a second thread costs more than it brings.
constexpr int64_t values_per_thread = 32768;
/// The same for threads that share a row, and so have to wait for one another several times.
constexpr int64_t values_per_worker = 196608;

/// Calls body(T()) with the type that holds values of this dtype.
template <class Body>
void with_floating_type(const Tensor& tensor, const char* name, Body body) {
  switch (tensor.scalar_type()) {
    case ScalarType::Half:
      return body(Half());
    case ScalarType::BFloat16:
      return body(BFloat16());
    case ScalarType::Float:
      return body(float());
    case ScalarType::Double:
      return body(double());
    default:
      STD_TORCH_CHECK(false, name, " has a dtype that these kernels do not know; expected float16, bfloat16, float32 or float64.");
  }
}

template <class T>
const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}
template <class T>
T* mutable_data(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

Tensor empty(std::initializer_list<int64_t> sizes, ScalarType dtype, const Tensor& like) {
  return torch::stable::empty({sizes.begin(), sizes.size()}, dtype, std::nullopt, like.device());
}

/// Calls body(begin, end) for ranges of [0, count) on as many threads as `values_each` values an item are worth.
template <class Body>
void in_parallel(int64_t count, int64_t values_each, const Body& body) {
  torch::stable::parallel_for(0, count, std::max<int64_t>(1, values_per_thread / std::max<int64_t>(1, values_each)), body);
}

/// As many workers as a row of `size` values is worth.
Team team_of(int64_t size) {
  const int64_t threads = torch::stable::get_num_threads();
  return Team{static_cast<std::size_t>(std::max<int64_t>(1, std::min(threads, size / values_per_worker))),
              [](std::size_t workers, const Team::Work& work) {
                torch::stable::parallel_for(0, static_cast<int64_t>(workers), 1, [&](int64_t begin, int64_t end) {
                  for (int64_t worker = begin; worker < end; ++worker) work(static_cast<std::size_t>(worker));
                });
              }};
}

/// Calls alone(begin, end) for ranges of rows, and together(row, team) for the last ones if threads would be left without a row.
template <class Alone, class Together>
void over_rows(const Tensor& x, const Alone& alone, const Together& together) {
  const Team team = team_of(x.size(1));
  // Together a row takes 1 / workers of the time and a bit more, so rows that wait for one another had better be few.
  const int64_t left = x.size(0) % torch::stable::get_num_threads();
  const int64_t last = 4 * left <= 3 * static_cast<int64_t>(team.workers) && team.workers > 1 ? left : 0;
  in_parallel(x.size(0) - last, x.size(1), alone);
  for (int64_t row = x.size(0) - last; row < x.size(0); ++row) together(row, team);
}

void check_rows(const Tensor& x) {
  STD_TORCH_CHECK(x.dim() == 2, "x has ", x.dim(), " dimensions; expected rows (N, D).");
  STD_TORCH_CHECK(x.size(1) <= longest_row, "x has rows of ", x.size(1), " values; at most ", longest_row,
                  " can be ranked exactly.");
}

/// A second operand of (D,), shared by all rows, or (N, D).
void check_partner(const Tensor& partner, const Tensor& x, const char* name) {
  const bool shared = partner.dim() == 1 && partner.size(0) == x.size(1);
  const bool each = partner.dim() == 2 && partner.size(0) == x.size(0) && partner.size(1) == x.size(1);
  STD_TORCH_CHECK(shared || each, name, " does not fit x: for rows of shape (", x.size(0), ", ", x.size(1), ") it has to be (",
                  x.size(1), ",) or of the same shape.");
}

template <class T>
Rows<T> rows_of(const Tensor& tensor) {
  const bool shared = tensor.dim() == 1;
  return Rows<T>{data<T>(tensor), static_cast<std::size_t>(tensor.size(shared ? 0 : 1)), shared ? 0 : tensor.stride(0),
                 tensor.stride(shared ? 0 : 1)};
}

/// Doubled ranks, with the sums of those that all rows share prepared once.
class References {
 public:
  explicit References(const Tensor& doubled_ranks) : rows_(rows_of<std::int32_t>(doubled_ranks)) {
    if (doubled_ranks.dim() == 2) return;
    shared_row_.resize(rows_.stride == 1 ? 0 : rows_.size);  // a copy, where the kernels cannot read them as they lie
    for (std::size_t i = 0; i < shared_row_.size(); ++i) shared_row_[i] = rows_.data[static_cast<int64_t>(i) * rows_.stride];
    shared_.emplace(summarize_ranks_together(shared_row_.empty() ? rows_.data : shared_row_.data(), rows_.size,
                                             team_of(static_cast<int64_t>(rows_.size))));
  }

  const Rows<std::int32_t>& rows() const { return rows_; }
  const RankedRow* shared() const { return shared_ ? &*shared_ : nullptr; }

 private:
  Rows<std::int32_t> rows_;
  std::vector<std::int32_t> shared_row_;
  std::optional<RankedRow> shared_;
};

void check_ranks(const Tensor& doubled_ranks, const Tensor& x) {
  STD_TORCH_CHECK(doubled_ranks.scalar_type() == ScalarType::Int, "doubled_ranks have to be int32, as doubled_rank returns them.");
  check_partner(doubled_ranks, x, "doubled_ranks");
}

Tensor doubled_rank(const Tensor& x) {
  check_rows(x);
  Tensor ranks = empty({x.size(0), x.size(1)}, ScalarType::Int, x);
  with_floating_type(x, "x", [&](auto type) {
    using T = decltype(type);
    const Rows<T> rows = rows_of<T>(x);
    const auto out = mutable_data<std::int32_t>(ranks);
    over_rows(
        x, [=](int64_t begin, int64_t end) { rank_rows(rows, begin, end, out); },
        [=](int64_t row, const Team& team) { rank_row_together(rows, row, out, team); });
  });
  return ranks;
}

Tensor rank(const Tensor& x) {
  check_rows(x);
  Tensor ranks = empty({x.size(0), x.size(1)}, ScalarType::Double, x);
  with_floating_type(x, "x", [&](auto type) {
    using T = decltype(type);
    const Rows<T> rows = rows_of<T>(x);
    const auto out = mutable_data<double>(ranks);
    over_rows(
        x, [=](int64_t begin, int64_t end) { float_rank_rows(rows, begin, end, out); },
        [=](int64_t row, const Team& team) { float_rank_row_together(rows, row, out, team); });
  });
  return ranks;
}

Tensor spearman(const Tensor& x, const Tensor& doubled_ranks) {
  check_rows(x);
  check_ranks(doubled_ranks, x);
  Tensor rho = empty({x.size(0)}, ScalarType::Double, x);
  const References references(doubled_ranks);
  with_floating_type(x, "x", [&](auto type) {
    using T = decltype(type);
    const Rows<T> rows = rows_of<T>(x);
    const auto out = mutable_data<double>(rho);
    over_rows(
        x,
        [=, &references](int64_t begin, int64_t end) {
          spearman_rows(rows, references.rows(), references.shared(), begin, end, out);
        },
        [=, &references](int64_t row, const Team& team) {
          spearman_row_together(rows, references.rows(), references.shared(), row, out, team);
        });
  });
  return rho;
}

std::tuple<Tensor, Tensor> path_distance(const Tensor& x, const Tensor& mean, const Tensor& doubled_ranks) {
  check_rows(x);
  check_ranks(doubled_ranks, x);
  check_partner(mean, x, "mean");
  const bool double_mean = mean.scalar_type() == ScalarType::Double;
  STD_TORCH_CHECK(double_mean || mean.scalar_type() == ScalarType::Float, "mean has to be float32 or float64.");
  Tensor rho = empty({x.size(0)}, ScalarType::Double, x);
  Tensor l1 = empty({x.size(0)}, ScalarType::Double, x);
  const References references(doubled_ranks);
  with_floating_type(x, "x", [&](auto type) {
    using T = decltype(type);
    const Rows<T> rows = rows_of<T>(x);
    const auto rho_out = mutable_data<double>(rho), l1_out = mutable_data<double>(l1);
    const auto with_mean_type = [&](auto mean_type) {
      using Mean = decltype(mean_type);
      const Rows<Mean> means = rows_of<Mean>(mean);
      over_rows(
          x,
          [=, &references](int64_t begin, int64_t end) {
            path_distance_rows(rows, means, references.rows(), references.shared(), begin, end, rho_out, l1_out);
          },
          [=, &references](int64_t row, const Team& team) {
            path_distance_row_together(rows, means, references.rows(), references.shared(), row, rho_out, l1_out, team);
          });
    };
    if (double_mean) {
      with_mean_type(double());
    } else {
      with_mean_type(float());
    }
  });
  return {rho, l1};
}

void accumulate(Tensor sums, const Tensor& rows) {
  check_rows(rows);
  STD_TORCH_CHECK(
      sums.scalar_type() == ScalarType::Double && sums.dim() == 1 && sums.size(0) == rows.size(1) && sums.is_contiguous(),
      "sums have to be contiguous float64 of shape (", rows.size(1), ",).");
  const auto out = mutable_data<double>(sums);
  with_floating_type(rows, "rows", [&](auto type) {
    using T = decltype(type);
    const T* const values = data<T>(rows);
    const int64_t count = rows.size(0), row_stride = rows.stride(0), stride = rows.stride(1);
    in_parallel(rows.size(1), count, [=](int64_t begin, int64_t end) {
      run<&accumulate_values<T>>(values, row_stride, stride, count, begin, end, out);
    });
  });
}

void check_images(const Tensor& images, int64_t power) {
  STD_TORCH_CHECK(images.dim() == 4, "images has ", images.dim(), " dimensions; expected (N, C, H, W).");
  STD_TORCH_CHECK(power == 1 || power == 2, "power is ", power, "; expected 1 (absolute) or 2 (squared differences).");
}

ImageShape shape_of(const Tensor& images) { return {images.size(0), images.size(1), images.size(2), images.size(3)}; }
ImageStrides strides_of(const Tensor& images) { return {images.stride(0), images.stride(1), images.stride(2), images.stride(3)}; }

template <class T>
constexpr ScalarType wide_dtype = std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Float;

Tensor high_frequency_loss(const Tensor& images, int64_t power) {
  check_images(images, power);
  const ImageShape shape = shape_of(images);
  Tensor loss;
  with_floating_type(images, "images", [&](auto type) {
    using T = decltype(type);
    loss = empty({shape.n}, wide_dtype<T>, images);
    const ImageStrides strides = strides_of(images);
    const Images<const T> view(data<T>(images), shape, strides, strides.interleaves_channels(shape));
    const int64_t units = view.lines.units();
    std::vector<UnitSums> sums(static_cast<std::size_t>(shape.n * units));
    in_parallel(shape.n * units, view.lines.length * view.lines.lines_per_unit(), [&](int64_t begin, int64_t end) {
      if (power == 1) {
        run<&high_frequency_units<T, 1>>(view, begin, end, sums.data());
      } else {
        run<&high_frequency_units<T, 2>>(view, begin, end, sums.data());
      }
    });
    const auto out = mutable_data<Wide<T>>(loss);
    for (int64_t i = 0; i < shape.n; ++i) out[i] = high_frequency_loss_of_image<Wide<T>>(shape, sums.data() + i * units, units);
  });
  return loss;
}

Tensor high_frequency_loss_backward(const Tensor& grad_output, const Tensor& images, int64_t power) {
  check_images(images, power);
  const ImageShape shape = shape_of(images);
  STD_TORCH_CHECK(grad_output.dim() == 1 && grad_output.size(0) == shape.n, "grad_output has to have one value for each of the ",
                  shape.n, " images.");
  Tensor gradients = torch::stable::empty_like(images);
  with_floating_type(images, "images", [&](auto type) {
    using T = decltype(type);
    // The loss is in Wide<T>, and so is its gradient, unless someone calls the operator directly.
    std::vector<Wide<T>> scale(static_cast<std::size_t>(shape.n));
    with_floating_type(grad_output, "grad_output", [&](auto scale_type) {
      const auto values = data<decltype(scale_type)>(grad_output);
      for (int64_t i = 0; i < shape.n; ++i) scale[i] = static_cast<Wide<T>>(widen(values[i * grad_output.stride(0)]));
    });
    const ImageStrides strides = strides_of(images), out_strides = strides_of(gradients);
    const bool interleaved = strides.interleaves_channels(shape) && out_strides.interleaves_channels(shape);
    const Images<const T> view(data<T>(images), shape, strides, interleaved);
    const Images<T> out(mutable_data<T>(gradients), shape, out_strides, interleaved);
    in_parallel(shape.n * view.lines.units(), view.lines.length * view.lines.lines_per_unit(), [&](int64_t begin, int64_t end) {
      if (power == 1) {
        run<&high_frequency_gradient_units<T, 1>>(view, out, scale.data(), begin, end);
      } else {
        run<&high_frequency_gradient_units<T, 2>>(view, out, scale.data(), begin, end);
      }
    });
  });
  return gradients;
}

/// Uninitialized, of these sizes and in one of two memory formats.
Tensor empty_images(const Tensor& like, bool channels_last) {
  const std::array<int64_t, 4> sizes{like.size(0), like.size(1), like.size(2), like.size(3)};
  const auto format = channels_last ? torch::headeronly::MemoryFormat::ChannelsLast : torch::headeronly::MemoryFormat::Contiguous;
  return torch::stable::empty({sizes.data(), sizes.size()}, like.scalar_type(), std::nullopt, like.device(), std::nullopt, format);
}

/// One value for each channel, in the images' dtype.
template <class T>
std::vector<T> channel_values(const Tensor& values, const Tensor& images, const char* name) {
  STD_TORCH_CHECK(values.dim() == 1 && values.size(0) == images.size(1) && values.scalar_type() == images.scalar_type(), name,
                  " has to have one value for each of the ", images.size(1), " channels, in the dtype of the images.");
  std::vector<T> copy(static_cast<std::size_t>(values.size(0)));
  for (int64_t c = 0; c < values.size(0); ++c) copy[c] = data<T>(values)[c * values.stride(0)];
  return copy;
}

std::vector<AffineMap> affine_maps(const Tensor& matrix, const Tensor& images) {
  STD_TORCH_CHECK(matrix.dim() == 3 && matrix.size(0) == images.size(0) && matrix.size(1) == 2 && matrix.size(2) == 3,
                  "matrix has to be of shape (", images.size(0), ", 2, 3): one for each image.");
  const bool is_double = matrix.scalar_type() == ScalarType::Double;
  STD_TORCH_CHECK(is_double || matrix.scalar_type() == ScalarType::Float, "matrix has to be float32 or float64.");
  std::vector<AffineMap> maps;
  for (int64_t i = 0; i < matrix.size(0); ++i) {
    double values[6];
    for (int64_t k = 0; k < 6; ++k) {
      const int64_t place = i * matrix.stride(0) + k / 3 * matrix.stride(1) + k % 3 * matrix.stride(2);
      values[k] = is_double ? data<double>(matrix)[place] : static_cast<double>(data<float>(matrix)[place]);
    }
    maps.emplace_back(values, images.size(2), images.size(3));
  }
  return maps;
}

/// As many bands as keep all threads busy where there are few images.
int64_t bands_for(int64_t planes, int64_t height) {
  const int64_t threads = torch::stable::get_num_threads();
  int64_t bands = 1;
  while (bands < threads && planes * bands % threads != 0 && planes * bands < 4 * threads) ++bands;
  return std::min(bands, std::max<int64_t>(1, height));
}

/// Calls body(T()) for images in float32 or float64 that the kernels can number.
template <class Body>
void with_images(const Tensor& images, const char* name, Body body) {
  STD_TORCH_CHECK(images.dim() == 4, name, " has ", images.dim(), " dimensions; expected (N, C, H, W).");
  STD_TORCH_CHECK(
      images.size(2) < most_pixels && images.size(3) < most_pixels && (images.size(2) + 2) * (images.size(3) + 2) < most_pixels,
      name, " has images of ", images.size(2), " x ", images.size(3), " pixels; at most 2^31 can be sampled.");
  if (images.scalar_type() == ScalarType::Double) return body(double());
  STD_TORCH_CHECK(images.scalar_type() == ScalarType::Float, name, " has to be float32 or float64.");
  return body(float());
}

Tensor affine_sample(const Tensor& images, const Tensor& matrix, const Tensor& scale, const Tensor& shift, double fill,
                     bool channels_last) {
  Tensor samples;
  with_images(images, "images", [&](auto type) {
    using T = decltype(type);
    samples = empty_images(images, channels_last);
    const std::vector<AffineMap> maps = affine_maps(matrix, images);
    const std::vector<T> scales = channel_values<T>(scale, images, "scale"), shifts = channel_values<T>(shift, images, "shift");
    if (samples.numel() == 0) return;
    AffineSampling<T> call{shape_of(images),     maps.data(),
                           scales.data(),        shifts.data(),
                           static_cast<T>(fill), data<T>(images),
                           strides_of(images),   mutable_data<T>(samples),
                           strides_of(samples),  1};
    call.bands = bands_for(call.units(), call.shape.h);
    in_parallel(call.units(), images.numel() / call.units(),
                [&](int64_t begin, int64_t end) { run<&affine_sample_units<T>>(call, begin, end); });
  });
  return samples;
}

Tensor affine_sample_backward(const Tensor& grad_output, const Tensor& matrix, const Tensor& scale, bool channels_last) {
  Tensor gradients;
  with_images(grad_output, "grad_output", [&](auto type) {
    using T = decltype(type);
    gradients = empty_images(grad_output, channels_last);
    const std::vector<AffineMap> maps = affine_maps(matrix, grad_output);
    const std::vector<T> scales = channel_values<T>(scale, grad_output, "scale");
    if (gradients.numel() == 0) return;
    AffineSampling<T> call{shape_of(grad_output),
                           maps.data(),
                           scales.data(),
                           nullptr,
                           T(0),
                           data<T>(grad_output),
                           strides_of(grad_output),
                           mutable_data<T>(gradients),
                           strides_of(gradients),
                           1};
    call.bands = bands_for(call.units(), call.shape.h);
    in_parallel(call.units(), grad_output.numel() / call.units(),
                [&](int64_t begin, int64_t end) { run<&affine_sample_gradient_units<T>>(call, begin, end); });
  });
  return gradients;
}

}  // namespace
}  // namespace captum_proto

STABLE_TORCH_LIBRARY_IMPL(captum_proto, CPU, library) {
  using namespace captum_proto;
  library.impl("high_frequency_loss", TORCH_BOX(&high_frequency_loss));
  library.impl("high_frequency_loss_backward", TORCH_BOX(&high_frequency_loss_backward));
  library.impl("affine_sample", TORCH_BOX(&affine_sample));
  library.impl("affine_sample_backward", TORCH_BOX(&affine_sample_backward));
  library.impl("doubled_rank", TORCH_BOX(&doubled_rank));
  library.impl("rank", TORCH_BOX(&rank));
  library.impl("spearman", TORCH_BOX(&spearman));
  library.impl("path_distance", TORCH_BOX(&path_distance));
  library.impl("accumulate", TORCH_BOX(&accumulate));
}
