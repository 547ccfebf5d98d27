// The Python module around either set of kernels: built once for the CPU, into captum_proto._C, and once for CUDA, into
// captum_proto._C_cuda12 or _C_cuda13, whichever nvcc is.
//
// Operators register themselves when the module is loaded; all that Python calls here is build_info(). Written in CPython's limited
// API, so that one module serves every Python from 3.10 on. setup.py defines CAPTUM_PROTO_MODULE, the module's name, and for CUDA
// what nvcc was and which architectures it compiled for.

// PyTorch defines this as the oldest Python that PyTorch itself serves; the name of the wheel says 3.10, whatever that is.
#ifdef Py_LIMITED_API
#undef Py_LIMITED_API
#define Py_LIMITED_API 0x030A0000
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <torch/headeronly/version.h>

#ifndef CAPTUM_PROTO_CUDA_ARCHITECTURES
#include "kernels/cpu/dispatch.h"
#endif

#define CAPTUM_PROTO_TEXT_OF(value) #value
#define CAPTUM_PROTO_TEXT(macro) CAPTUM_PROTO_TEXT_OF(macro)
#define CAPTUM_PROTO_JOIN_OF(a, b) a##b
#define CAPTUM_PROTO_JOIN(a, b) CAPTUM_PROTO_JOIN_OF(a, b)

namespace captum_proto {
namespace {

#if defined(__clang__)
constexpr const char* kCompiler = "Clang " __clang_version__;
#elif defined(__GNUC__)
constexpr const char* kCompiler = "GCC " __VERSION__;
#elif defined(_MSC_VER)
constexpr const char* kCompiler = "MSVC " CAPTUM_PROTO_TEXT(_MSC_FULL_VER);
#else
constexpr const char* kCompiler = "unknown";
#endif

/// Puts a new reference, or nullptr where making it failed, into a dict, which owns it from then on; whether that went well.
bool put(PyObject* info, const char* key, PyObject* value) {
  if (value == nullptr) return false;
  const int failed = PyDict_SetItemString(info, key, value);
  Py_DECREF(value);
  return failed == 0;
}

bool put_text(PyObject* info, const char* key, const char* text) { return put(info, key, PyUnicode_FromString(text)); }

/// Of an ABI's version with a byte for its major and one for its minor number, the former `major_shift` bits up.
PyObject* version_text(unsigned long long version, int major_shift) {
  return PyUnicode_FromFormat("%d.%d", static_cast<int>(version >> major_shift & 0xff),
                              static_cast<int>(version >> (major_shift - 8) & 0xff));
}

PyObject* limited_api() {
#ifdef Py_LIMITED_API
  return version_text(Py_LIMITED_API, 24);
#else
  Py_INCREF(Py_None);
  return Py_None;
#endif
}

bool put_what_differs(PyObject* info) {
#ifdef CAPTUM_PROTO_CUDA_ARCHITECTURES
  PyObject* architectures = PyUnicode_FromString(CAPTUM_PROTO_CUDA_ARCHITECTURES);
  if (architectures == nullptr) return false;
  PyObject* list = PyObject_CallMethod(architectures, "split", "s", ";");
  Py_DECREF(architectures);
  return put(info, "architectures", list) && put_text(info, "nvcc", CAPTUM_PROTO_NVCC);
#else
  return put_text(info, "capability", cpu_capability());
#endif
}

PyObject* build_info(PyObject*, PyObject*) {
  PyObject* info = PyDict_New();
  if (info == nullptr) return nullptr;
  if (put_text(info, "compiler", kCompiler) && put(info, "cpp_standard", PyLong_FromLong(static_cast<long>(__cplusplus))) &&
      put(info, "limited_api", limited_api()) && put_text(info, "built_with_torch", TORCH_VERSION) &&
      put(info, "oldest_torch", version_text(TORCH_TARGET_VERSION, 56)) && put_what_differs(info)) {
    return info;
  }
  Py_DECREF(info);
  return nullptr;
}

PyMethodDef methods[] = {
    {"build_info", &build_info, METH_NOARGS, "build_info()\n--\n\nHow this module was built, and what it found on this machine."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef_Slot slots[] = {
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, nullptr},
};

PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    CAPTUM_PROTO_TEXT(CAPTUM_PROTO_MODULE),
    "Native kernels of captum_proto; importing this module registers them.",
    0,
    methods,
    slots,
    nullptr,
    nullptr,
    nullptr,
};

}  // namespace
}  // namespace captum_proto

PyMODINIT_FUNC CAPTUM_PROTO_JOIN(PyInit_, CAPTUM_PROTO_MODULE)() { return PyModuleDef_Init(&captum_proto::module); }
