#pragma once

#include "python/guard.h"
#include "python/py_bridge.h"

#include <torch/csrc/utils/pybind.h>

namespace minimize {

/// The loss and the gradient as scipy asks for them, one after the other at a new point.
///
/// What is usual is done here, in the order in which ScipyFunction does it: the parameters are
/// moved, the closure is run, and what it gave is filed. Anything else goes there, in Python: a
/// point that is known, values that are not finite, arrays that are not scipy's own copies.
class UsualFunction {
 public:
  /// `call` evaluates where the parameters of the bridge are, which `evaluator` is told; `file`
  /// gets what came of it. `permit`, if it is not None, is called before the parameters are moved.
  /// `value` and `gradient` are asked for anything else.
  UsualFunction(
      const ArrayBridge& bridge, Guard& guard, py::object call, py::object evaluator,
      py::object file, py::object permit, py::object value, py::object gradient);

  py::object fun(const py::object& x);
  py::object jac(const py::object& x);
  /// The run is over: Python's collector does not see what this holds, nor that it may be a ring
  /// of closure, error and traceback.
  void forget();

 private:
  bool is_new(py::handle x) const;
  /// An evaluation at x.
  py::object found_at(const py::object& x);
  py::object of_evaluator(const py::str& name) const;

  const ArrayBridge bridge_;
  Guard& guard_;
  py::object call_;
  py::object evaluator_;
  py::object file_;
  py::object permit_;
  py::object value_;
  py::object gradient_;
  py::object found_ = py::none();  // of the last usual question
  py::str bridge_part_ = interned("bridge"), solver_part_ = interned("solver");
  py::str fun_ = interned("fun"), jac_ = interned("jac");
  py::str here_ = interned("here"), x_ = interned("x"), evaluations_ = interned("evaluations");
};

}  // namespace minimize
