// The Python module around either set of kernels: built once into captum_proto._C and once into captum_proto._C_cuda.
//
// Operators register themselves when the module is loaded; all that Python calls here is build_info(). setup.py defines
// CAPTUM_PROTO_MODULE, the module's name, and for CUDA what nvcc was and which architectures it compiled for.

// PyTorch's copy of pybind11, which serves where there is no other, refuses to be included where this is defined.
static constexpr unsigned long long kOldestTorch = TORCH_TARGET_VERSION;
#undef TORCH_TARGET_VERSION

#include <pybind11/pybind11.h>
#include <torch/headeronly/version.h>

#include <string>

#ifndef CAPTUM_PROTO_CUDA_ARCHITECTURES
#include "kernels/cpu/dispatch.h"
#endif

namespace captum_proto {
namespace {

std::string compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#elif defined(__GNUC__)
  return "GCC " __VERSION__;
#elif defined(_MSC_VER)
  return "MSVC " + std::to_string(_MSC_FULL_VER);
#else
  return "unknown";
#endif
}

std::string version_of(unsigned long long abi_version) {
  return std::to_string(abi_version >> 56) + "." + std::to_string(abi_version >> 48 & 0xff);
}

pybind11::dict build_info() {
  pybind11::dict info;
  info["compiler"] = compiler();
  info["cpp_standard"] = static_cast<long>(__cplusplus);
  info["built_with_torch"] = TORCH_VERSION;
  info["oldest_torch"] = version_of(kOldestTorch);
#ifdef CAPTUM_PROTO_CUDA_ARCHITECTURES
  info["nvcc"] = CAPTUM_PROTO_NVCC;
  info["architectures"] = pybind11::str(CAPTUM_PROTO_CUDA_ARCHITECTURES).attr("split")(";");
#else
  info["capability"] = cpu_capability();
#endif
  return info;
}

}  // namespace
}  // namespace captum_proto

PYBIND11_MODULE(CAPTUM_PROTO_MODULE, module) {
  module.doc() = "Native kernels of captum_proto; importing this module registers them.";
  module.def("build_info", &captum_proto::build_info, "How this module was built, and what it found on this machine.");
}
