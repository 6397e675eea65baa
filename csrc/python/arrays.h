#pragma once

#include "host/memory.h"

#include <pybind11/numpy.h>

#include <cstdint>

namespace minimize {

namespace py = pybind11;

/// A vector of a pool as an array, which gives the memory back with its last reference.
py::array_t<double> new_array(FlatPool& pool, int64_t numel);

/// A caller's vector, read in place where its memory allows, copied otherwise.
class FlatInput {
 public:
  /// Throws TypeError or ValueError unless x is a float64 array of shape (numel,).
  FlatInput(py::handle x, int64_t numel);
  const double* data() const {
    return data_;
  }

 private:
  py::array array_;
  const double* data_;
};

/// Those of host/vector_ops.h on float64 arrays; TypeError or ValueError for anything else.
bool same_values(py::handle a, py::handle b);
double distance(py::handle a, py::handle b);
double largest(py::handle v);

}  // namespace minimize
