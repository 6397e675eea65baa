#pragma once

#include <torch/csrc/utils/pybind.h>

#include <cxxabi.h>

namespace minimize {

namespace py = pybind11;

/// What Python's own kind of a function in C returns, whose body is code(); it sets the error that
/// code() throws. pybind11's way there takes several times as long where caches are cold, for it
/// walks through more code: between two closures 1 to 2 us, as much as all that is done then.
template <class Code>
PyObject* directly(const Code& code) {
  try {
    return code().release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
#ifdef __GLIBCXX__
  } catch (abi::__forced_unwind&) {  // the thread ends, as Python's do at the interpreter's exit
    throw;
#endif
  } catch (...) {
    py::detail::try_translate_exceptions();
  }
  return nullptr;
}

/// The T that `self` is, which must be one: without pybind11's look for a base of that type.
template <class T>
T& instance_of(PyObject* self) {
  auto* const found =
      reinterpret_cast<py::detail::instance*>(self)->get_value_and_holder().value_ptr<T>();
  if (found == nullptr) {
    throw py::type_error("it was never initialised");
  }
  return *found;
}

/// A method of one argument, bound to an instance, that is called so. `name` is always the same.
template <class T, py::object (T::*method)(py::handle)>
py::object direct_method(const py::object& self, const char* name) {
  if (!py::isinstance<T>(self)) {
    throw py::type_error("it is a method of another type");
  }
  static PyMethodDef definition = {
      name,
      [](PyObject* instance, PyObject* argument) {
        return directly([&] { return (instance_of<T>(instance).*method)(argument); });
      },
      METH_O, nullptr};
  auto* const bound = PyCFunction_New(&definition, self.ptr());
  if (bound == nullptr) {
    throw py::error_already_set();
  }
  return py::reinterpret_steal<py::object>(bound);
}

}  // namespace minimize
