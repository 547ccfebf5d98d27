// Tensors of PyTorch's stable ABI as the kernels want them: data as pointers, new tensors for results, a sentence where they do not
// fit.
//
// Built through that ABI, a module serves every later PyTorch, and the CUDA module those of the same CUDA major version.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/MemoryFormat.h>
#include <torch/headeronly/core/ScalarType.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <string>

namespace captum_proto {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

/// Throws a sentence made of `parts`, which Python raises as a RuntimeError, unless the condition holds.
template <class... Parts>
void require(bool holds, const Parts&... parts) {
  if (holds) return;
  std::ostringstream sentence;
  (sentence << "captum_proto: " << ... << parts);
  throw std::runtime_error(sentence.str());
}

/// A tensor's shape, to be written into a sentence.
struct ShapeOf {
  const Tensor& tensor;

  friend std::ostream& operator<<(std::ostream& out, const ShapeOf& shape) {
    out << "(";
    for (int64_t i = 0; i < shape.tensor.dim(); ++i) out << (i > 0 ? ", " : "") << shape.tensor.size(i);
    return out << (shape.tensor.dim() == 1 ? ",)" : ")");
  }
};

inline void check_same_device(const Tensor& tensor, const char* name, const Tensor& other, const char* other_name) {
  require(tensor.device() == other.device(), name, " must be on the device of ", other_name, "; move one of them.");
}

template <class T>
const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.const_data_ptr());
}
template <class T>
T* mutable_data(const Tensor& tensor) {
  return static_cast<T*>(tensor.mutable_data_ptr());
}

/// How a sentence begins of which Python makes torch.OutOfMemoryError: that class cannot be thrown through the stable ABI.
constexpr const char* kOutOfMemory = "captum_proto: out of memory: ";

/// What `make` returns, a new tensor for a result. What it throws is that there is no memory for it, unless PyTorch says otherwise:
/// after a kernel's error every call fails.
template <class Make>
Tensor made(const Tensor& like, const Make& make) {
  try {
    return make();
  } catch (const std::exception& error) {
    const std::string words = error.what();
    const auto said = [&](const char* part) { return words.find(part) != std::string::npos; };
    if (like.device().is_cpu() || (said("CUDA error") && !said("out of memory"))) throw;
    std::ostringstream sentence;
    sentence << kOutOfMemory << "there is none for a result for a tensor of shape " << ShapeOf{like} << " on GPU "
             << like.get_device_index() << ". Give fewer rows at a time, or free memory. PyTorch says: " << words;
    throw std::runtime_error(sentence.str());
  }
}

/// Uninitialized, on the device of `like`.
inline Tensor empty(std::initializer_list<int64_t> sizes, ScalarType dtype, const Tensor& like) {
  return made(like, [&] { return torch::stable::empty({sizes.begin(), sizes.size()}, dtype, std::nullopt, like.device()); });
}

/// Uninitialized, as `like` lies.
inline Tensor empty_as(const Tensor& like) {
  return made(like, [&] { return torch::stable::empty_like(like); });
}

/// Uninitialized, of the sizes, dtype and device of `like` (N, C, H, W) and in one of two memory formats.
inline Tensor empty_images(const Tensor& like, bool channels_last) {
  const std::array<int64_t, 4> sizes{like.size(0), like.size(1), like.size(2), like.size(3)};
  const auto format = channels_last ? torch::headeronly::MemoryFormat::ChannelsLast : torch::headeronly::MemoryFormat::Contiguous;
  return made(like, [&] {
    return torch::stable::empty({sizes.data(), sizes.size()}, like.scalar_type(), std::nullopt, like.device(), std::nullopt,
                                format);
  });
}

/// Calls body(T()) with the type that holds a floating-point tensor's values; `Half` and `BFloat16` are the kernels' own.
template <class Half, class BFloat16, class Body>
void with_floating_type(const Tensor& tensor, const char* name, const Body& body) {
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
      require(false, name, " has a dtype that the kernels do not know; expected float16, bfloat16, float32 or float64.");
  }
}

inline bool is_float_or_double(const Tensor& tensor) {
  return tensor.scalar_type() == ScalarType::Float || tensor.scalar_type() == ScalarType::Double;
}

/// The same for a tensor that has been checked to be float32 or float64.
template <class Body>
void with_float_or_double(const Tensor& tensor, const Body& body) {
  return tensor.scalar_type() == ScalarType::Double ? body(double()) : body(float());
}

}  // namespace captum_proto
