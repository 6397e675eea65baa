#pragma once

#include "python/attribute.h"
#include "python/closure_call.h"
#include "python/ledger.h"

#include <torch/csrc/utils/pybind.h>

#include <chrono>
#include <cstdint>

namespace minimize {

/// The loss and the gradient as scipy asks for them, one after the other at a new point.
///
/// What is usual is done here, in the order in which ScipyFunction does it: the parameters are
/// moved, the closure is run, and what it gave is filed. Anything else goes there, in Python: a
/// point that is known, values that are not finite, arrays that are not scipy's own copies.
class UsualFunction {
 public:
  /// `call`, a ClosureCall, evaluates where the parameters of the bridge are, which `evaluator` is
  /// told, and `objective` what came of it. `permit`, if it is not None, is called before the
  /// parameters are moved; it returns for how many seconds, and until how many evaluations, that is
  /// enough. `value` and `gradient` are asked for anything else.
  UsualFunction(
      const ArrayBridge& bridge, Guard& guard, py::object call, py::object evaluator,
      py::object objective, py::object permit, py::object value, py::object gradient);

  py::object fun(py::handle x);
  py::object jac(py::handle x);
  /// The run is over: Python's collector does not see what this holds, nor that it may be a ring
  /// of closure, error and traceback.
  void forget();

 private:
  void require_run() const;
  bool is_new(py::handle x) const;
  /// Calls permit where its word does not hold any more.
  void ask_for_permit(int64_t evaluations);
  /// An evaluation at x.
  py::object found_at(py::handle x);

  const ArrayBridge bridge_;
  Guard& guard_;
  py::object call_;  // a ClosureCall, until the run is over
  py::object evaluator_;
  Ledger ledger_;
  py::object permit_;
  py::object value_;
  py::object gradient_;
  py::object found_ = py::none();  // of the last usual question
  std::chrono::steady_clock::time_point permitted_until_;
  int64_t permitted_evaluations_ = 0;
  py::str bridge_part_ = interned("bridge"), solver_part_ = interned("solver");
  py::str fun_ = interned("fun"), jac_ = interned("jac");
  Attribute here_{"here"}, x_{"x"}, evaluations_{"evaluations"};
};

}  // namespace minimize
