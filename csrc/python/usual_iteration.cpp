#include "python/usual_iteration.h"

#include "python/arrays.h"
#include "python/direct_call.h"
#include "python/evaluation.h"

#include <c10/util/Exception.h>

#include <cmath>
#include <utility>

namespace minimize {
namespace {

using Seconds = std::chrono::duration<double>;
using Instant = std::chrono::steady_clock::time_point;

/// What began as many seconds ago as the watch says.
Instant start_of(const py::object& watch) {
  const Seconds ago(watch.attr("spent")().cast<std::pair<int64_t, double>>().second);
  return std::chrono::steady_clock::now() - std::chrono::duration_cast<Instant::duration>(ago);
}

/// Of a dict; nothing where it has none.
py::object entry(py::handle dict, py::handle key) {
  auto* const found = PyDict_GetItemWithError(dict.ptr(), key.ptr());
  if (found == nullptr && PyErr_Occurred() != nullptr) {
    throw py::error_already_set();
  }
  return py::reinterpret_borrow<py::object>(found);
}

}  // namespace

UsualIteration::UsualIteration(
    Guard& guard, py::object watch, py::object evaluator, py::object objective, py::object history,
    Limits limits, bool stays, py::set answers, py::object callback, py::object signature)
    : guard_(guard),
      watch_(std::move(watch)),
      evaluator_(std::move(evaluator)),
      ledger_(std::move(objective)),
      history_(std::move(history)),
      limits_(limits),
      stays_(stays),
      answers_(std::move(answers)),
      callback_(std::move(callback)),
      signature_(std::move(signature)),
      start_(start_of(watch_)),
      first_row_(static_cast<int64_t>(py::len(rows_.of(history_)))) {}

PyObject* UsualIteration::call(PyObject* self, PyObject* arguments, PyObject* named) {
  return directly([&] { return instance_of<UsualIteration>(self).told(arguments, named); });
}

py::object UsualIteration::told(PyObject* arguments, PyObject* named) {
  TORCH_CHECK_VALUE(!callback_.is_none(), "the callback was called after the run that it is of.");
  auto& clock = guard_.clock();
  clock.begin(bridge_part_, py::none());
  const auto positional = PyTuple_GET_SIZE(arguments);
  const auto by_name = named == nullptr ? 0 : PyDict_GET_SIZE(named);
  py::object x;
  py::object result;
  if (positional == 1 && by_name == 0) {
    x = py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(arguments, 0));
  } else if (positional == 0 && by_name == 1) {
    result = entry(named, result_);
    x = result && PyDict_Check(result.ptr()) ? entry(result, x_) : py::object();
  }
  if (x && is_all_done(x, result)) {
    clock.begin(solver_part_, py::none());
    return py::bool_(false);
  }
  const py::object callback = callback_;
  auto* const ends = PyObject_Call(callback.ptr(), arguments, named);
  if (ends == nullptr) {
    throw py::error_already_set();
  }
  return py::reinterpret_steal<py::object>(ends);
}

bool UsualIteration::is_all_done(py::handle x, py::handle result) {
  const py::object found = here_.of(evaluator_);
  if (!is_vector(x) || found.is_none() || !is_finite(found) || !answers_.empty()) {
    return false;
  }
  const auto value = field(found, Field::kValue);
  const auto nit = nit_.count_of(watch_) + 1;
  py::list rows = rows_.of(history_);
  if (may_end(py::cast<double>(value), nit, rows)) {
    return false;
  }
  const auto [is_here, length] =
      compare_and_measure(x, field(found, Field::kX), iterate_.of(watch_));
  if (!is_here) {
    return false;
  }
  const py::object largest = grad_norm(found, length > 0.0);
  const auto point = stays_ ? x : field(found, Field::kX);
  ledger_.turn_to(point, found);
  if (result && PyDict_SetItem(result.ptr(), fun_.ptr(), value.ptr()) != 0) {
    throw py::error_already_set();
  }
  nit_.set(watch_, py::int_(nit));
  iterate_.set(watch_, point);
  grad_norm_.set(watch_, largest);
  const Seconds spent = std::chrono::steady_clock::now() - start_;
  rows.append(
      py::make_tuple(
          value, largest, length,
          evaluations_before_.number_of(history_) + evaluations_.number_of(evaluator_),
          seconds_before_.number_of(history_) + spent.count()));
  return true;
}

/// max |g_i|; NaN where there is no gradient, but at a point that has been told of before.
py::object UsualIteration::grad_norm(py::handle found, bool moved) const {
  const auto gradient = field(found, Field::kGradient);
  if (gradient.is_none()) {
    return moved ? py::float_(std::nan("")) : grad_norm_.of(watch_);
  }
  auto known = py::reinterpret_borrow<py::object>(field(found, Field::kLargest));
  const bool is_known = !std::isnan(py::cast<double>(known));
  return is_known ? std::move(known) : py::float_(minimize::largest(gradient));
}

/// Whether Limits.due_at might say so, which knows whether x is feasible, and asks.
bool UsualIteration::may_end(double loss, int64_t nit, const py::list& rows) const {
  if (static_cast<double>(nit) >= limits_.maxiter) {
    return true;
  }
  const auto back = static_cast<int64_t>(rows.size()) - limits_.window;
  if (std::isnan(limits_.rtol) || back < first_row_) {
    return false;
  }
  const double before = py::cast<double>(py::tuple(rows[back])[0]);
  return before - loss < limits_.rtol * std::abs(before);
}

void UsualIteration::forget() {
  ledger_.forget();
  for (auto* held : {&watch_, &evaluator_, &history_, &callback_}) {
    *held = py::none();
  }
}

}  // namespace minimize
