// The CPU kernels on NumPy arrays, without PyTorch: a module for tests that call them thousands of times, made with pybind11.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>

#include "kernels/cpu/packed_counts.h"
#include "kernels/cpu/rows.h"

namespace py = pybind11;

namespace captum_proto {
namespace {

/// An array (N, D) as it lies, whatever its strides.
template <class T>
Rows<T> rows_of(const py::array_t<T>& x) {
  if (x.ndim() != 2) throw py::value_error("expected an array (N, D)");
  const auto width = static_cast<py::ssize_t>(sizeof(T));
  return {x.data(), static_cast<std::size_t>(x.shape(1)), x.strides(0) / width, x.strides(1) / width};
}

template <class T>
py::array_t<std::int32_t> doubled_rank(const py::array_t<T>& x) {
  py::array_t<std::int32_t> ranks({x.shape(0), x.shape(1)});
  rank_rows(rows_of(x), 0, x.shape(0), ranks.mutable_data());
  return ranks;
}

template <class T>
py::array_t<double> spearman(const py::array_t<T>& x, const py::array_t<std::int32_t>& doubled_ranks) {
  const Rows<T> rows = rows_of(x);
  const Rows<std::int32_t> references = rows_of(doubled_ranks);
  if (doubled_ranks.shape(0) != x.shape(0) || references.size != rows.size)
    throw py::value_error("expected a reference for each row");
  py::array_t<double> rho(x.shape(0));
  spearman_rows(rows, references, nullptr, 0, x.shape(0), rho.mutable_data());
  return rho;
}

py::array_t<std::int64_t> packed_counts(const py::array_t<std::int64_t>& a, const py::array_t<std::int64_t>& b) {
  const auto packed = [](const Rows<std::int64_t>& rows, py::ssize_t count) {
    if (rows.size > 1 && rows.stride != 1) throw py::value_error("expected the words of a row side by side");
    return PackedRows{rows.data, count, static_cast<std::int64_t>(rows.size), rows.row_stride};
  };
  py::array_t<std::int64_t> counts({a.shape(0), b.shape(0)});
  run_packed_counts(packed(rows_of(a), a.shape(0)), packed(rows_of(b), b.shape(0)), counts.mutable_data(), 0, a.shape(0));
  return counts;
}

}  // namespace
}  // namespace captum_proto

PYBIND11_MODULE(numpy_kernels, module) {
  using namespace captum_proto;
  // Without conversions: an array of another dtype is another overload's, or an error.
  module.def("doubled_rank", &doubled_rank<float>, py::arg("x").noconvert());
  module.def("doubled_rank", &doubled_rank<double>, py::arg("x").noconvert());
  module.def("spearman", &spearman<float>, py::arg("x").noconvert(), py::arg("doubled_ranks").noconvert());
  module.def("spearman", &spearman<double>, py::arg("x").noconvert(), py::arg("doubled_ranks").noconvert());
  module.def("packed_counts", &packed_counts, py::arg("a").noconvert(), py::arg("b").noconvert());
}
