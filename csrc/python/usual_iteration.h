#pragma once

#include "python/attribute.h"
#include "python/guard.h"
#include "python/ledger.h"

#include <torch/csrc/utils/pybind.h>

#include <chrono>
#include <cstdint>

namespace minimize {

/// What scipy calls back at an iterate where there is no more to do than a row of the history.
///
/// That is where the closure was run last and gave finite values, far from all limits. It is done
/// here, and what is left is what ScipyCallback and Watch leave. Anything else goes there.
class UsualIteration {
 public:
  /// The run may end where the loss has not fallen by `rtol` of itself, if that is not NaN, over
  /// `window` iterations, and after `maxiter` of them.
  struct Limits {
    double rtol;
    int64_t window;
    double maxiter;
  };

  /// `watch` stands by a run of `evaluator`, `objective` and `history`. An x that is told `stays`
  /// as it is, if so. Where `answers` is not empty, what is told may hold some. `callback` is asked
  /// for anything else, and `signature` says what scipy is to tell.
  UsualIteration(
      Guard& guard, py::object watch, py::object evaluator, py::object objective,
      py::object history, Limits limits, bool stays, py::set answers, py::object callback,
      py::object signature);

  /// Whether the solver is to end: what the type's tp_call is to be (see direct_call.h).
  static PyObject* call(PyObject* self, PyObject* arguments, PyObject* named);
  py::object signature() const {
    return signature_;
  }
  /// The run is over: Python's collector does not see what this holds of it.
  void forget();

 private:
  py::object told(PyObject* arguments, PyObject* named);
  /// Whether that was all.
  bool is_all_done(py::handle x, py::handle result);
  py::object grad_norm(py::handle found, bool moved) const;
  bool may_end(double loss, int64_t nit, const py::list& rows) const;

  Guard& guard_;
  py::object watch_;
  py::object evaluator_;
  Ledger ledger_;
  py::object history_;
  Limits limits_;
  bool stays_;
  py::set answers_;
  py::object callback_;
  py::object signature_;
  std::chrono::steady_clock::time_point start_;
  py::str bridge_part_ = interned("bridge"), solver_part_ = interned("solver");
  py::str x_ = interned("x"), fun_ = interned("fun"), result_ = interned("intermediate_result");
  Attribute here_{"here"}, evaluations_{"evaluations"};
  Attribute nit_{"nit"}, iterate_{"iterate"}, grad_norm_{"_last_grad_norm"};
  Attribute rows_{"_rows"}, evaluations_before_{"_evaluations"}, seconds_before_{"_seconds"};
  int64_t first_row_;  // of the history, of this run
};

}  // namespace minimize
