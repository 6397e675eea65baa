#pragma once

#include <torch/csrc/utils/pybind.h>

namespace minimize {

namespace py = pybind11;

/// What Python's own kind of a function in C returns, whose body is code(); it sets the error that
/// code() throws. pybind11's way there takes several times as long where caches are cold, for it
/// walks through more code: between two closures 1 to 2 us, as much as all that is done then.
template <class Code>
PyObject* directly(const Code& code) noexcept {
  try {
    return code().release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (...) {
    py::detail::try_translate_exceptions();
  }
  return nullptr;
}

/// The T that `self` is, which must be one: without pybind11's look for a base of that type.
template <class T>
T& instance_of(PyObject* self) {
  return *reinterpret_cast<py::detail::instance*>(self)->get_value_and_holder().value_ptr<T>();
}

/// A method of one argument, bound to an instance, that is called so.
template <class T, py::object (T::*method)(py::handle)>
py::object direct_method(const py::object& self) {
  static PyMethodDef definition = {
      "method",
      [](PyObject* instance, PyObject* argument) {
        return directly([&] { return (instance_of<T>(instance).*method)(argument); });
      },
      METH_O, nullptr};
  return py::reinterpret_steal<py::object>(PyCFunction_New(&definition, self.ptr()));
}

}  // namespace minimize
