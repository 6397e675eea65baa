#pragma once

#include "python/guard.h"

#include <torch/csrc/utils/pybind.h>

namespace minimize {

/// An attribute of objects of Python's, by its one string of letters.
class Attribute {
 public:
  explicit Attribute(const char* name) : name_(interned(name)) {}

  py::object of(py::handle owner) const {
    return py::getattr(owner, name_);
  }
  double number_of(py::handle owner) const {
    return py::cast<double>(of(owner));
  }
  int64_t count_of(py::handle owner) const {
    return py::cast<int64_t>(of(owner));
  }
  bool is_true_of(py::handle owner) const {
    return static_cast<bool>(py::bool_(of(owner)));
  }
  void set(py::handle owner, py::handle value) const {
    py::setattr(owner, name_, value);
  }

 private:
  py::str name_;
};

}  // namespace minimize
