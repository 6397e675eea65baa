#pragma once

#include <torch/csrc/utils/pybind.h>

#include <cstdint>

namespace minimize {

namespace py = pybind11;

/// Fields of an Evaluation, a named tuple of Python's.
enum class Field : std::uint8_t { kX, kValue, kGradient, kFinite, kRecovered, kLargest };

inline py::handle field(py::handle found, Field which) {
  return PyTuple_GET_ITEM(found.ptr(), static_cast<Py_ssize_t>(which));
}

inline bool is_finite(py::handle found) {
  return field(found, Field::kFinite).ptr() == Py_True;
}

}  // namespace minimize
