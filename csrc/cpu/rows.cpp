// The operators on rows for the CPU: rank, Spearman's correlation, path distance, running sums.
#include "kernels/cpu/rows.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "check_rows.h"
#include "cpu/parallel.h"
#include "cpu/rows_to_deal.h"
#include "kernels/cpu/accumulate.h"
#include "kernels/cpu/dispatch.h"
#include "tensors.h"

namespace captum_proto {
namespace {

/// Calls alone(begin, end) for ranges of rows, and together(row, team) for the last ones if threads would be left without a row.
template <class Alone, class Together>
void over_rows(const Tensor& x, const Alone& alone, const Together& together) {
  const Team team = team_of(x.size(1));
  const int64_t rows = x.size(0), threads = torch::stable::get_num_threads(), left = rows % threads;
  // Together a row takes 1 / workers of the time and a bit more, so rows that wait for one another had better be few.
  if (team.workers == 1 || left == 0 || 4 * left > 3 * static_cast<int64_t>(team.workers)) {
    in_parallel(rows, x.size(1), alone);
    return;
  }
  RowsToDeal dealt(rows, left);
  torch::stable::parallel_for(0, rows > left ? threads : 0, 1, [&](int64_t begin, int64_t end) {
    const WorkspaceLease lease;  // large buffers serve for all rows
    for (; begin < end; ++begin) dealt.take_part([&](int64_t row) { alone(row, row + 1); });
  });
  for (int64_t row = dealt.first_left(); row < rows; ++row) together(row, team);
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

Tensor doubled_rank(const Tensor& x) {
  check_rows(x, "x");
  Tensor ranks = empty({x.size(0), x.size(1)}, ScalarType::Int, x);
  with_floating_type<Half, BFloat16>(x, "x", [&](auto type) {
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
  check_rows(x, "x");
  Tensor ranks = empty({x.size(0), x.size(1)}, ScalarType::Double, x);
  with_floating_type<Half, BFloat16>(x, "x", [&](auto type) {
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
  check_rows(x, "x");
  check_doubled_ranks(doubled_ranks, x);
  Tensor rho = empty({x.size(0)}, ScalarType::Double, x);
  const References references(doubled_ranks);
  with_floating_type<Half, BFloat16>(x, "x", [&](auto type) {
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
  check_rows(x, "x");
  check_doubled_ranks(doubled_ranks, x);
  check_mean(mean, x);
  Tensor rho = empty({x.size(0)}, ScalarType::Double, x);
  Tensor l1 = empty({x.size(0)}, ScalarType::Double, x);
  const References references(doubled_ranks);
  with_floating_type<Half, BFloat16>(x, "x", [&](auto type) {
    using T = decltype(type);
    const Rows<T> rows = rows_of<T>(x);
    const auto rho_out = mutable_data<double>(rho), l1_out = mutable_data<double>(l1);
    with_float_or_double(mean, [&](auto mean_type) {
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
    });
  });
  return {rho, l1};
}

void accumulate(Tensor sums, const Tensor& rows) {
  check_rows(rows, "rows");
  check_sums(sums, rows);
  const auto out = mutable_data<double>(sums);
  with_floating_type<Half, BFloat16>(rows, "rows", [&](auto type) {
    using T = decltype(type);
    const T* const values = data<T>(rows);
    const int64_t count = rows.size(0), row_stride = rows.stride(0), stride = rows.stride(1);
    in_parallel(rows.size(1), count, [=](int64_t begin, int64_t end) {
      run<&accumulate_values<T>>(values, row_stride, stride, count, begin, end, out);
    });
  });
}

}  // namespace
}  // namespace captum_proto

STABLE_TORCH_LIBRARY_IMPL(captum_proto, CPU, library) {
  using namespace captum_proto;
  library.impl("doubled_rank", TORCH_BOX(&doubled_rank));
  library.impl("rank", TORCH_BOX(&rank));
  library.impl("spearman", TORCH_BOX(&spearman));
  library.impl("path_distance", TORCH_BOX(&path_distance));
  library.impl("accumulate", TORCH_BOX(&accumulate));
}
