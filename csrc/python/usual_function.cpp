#include "python/usual_function.h"

#include "python/arrays.h"
#include "python/direct_call.h"
#include "python/evaluation.h"

#include <algorithm>
#include <utility>

namespace minimize {
namespace {

/// A float64 vector of memory of its own, as a copy is that was made for one call.
bool is_own_vector(py::handle x) {
  if (!is_vector(x)) {
    return false;
  }
  const auto array = py::reinterpret_borrow<py::array>(x);
  return array.owndata() && (array.flags() & py::array::c_style) != 0;
}

}  // namespace

UsualFunction::UsualFunction(
    const ArrayBridge& bridge, Guard& guard, py::object call, py::object evaluator,
    py::object objective, py::object permit, py::object value, py::object gradient)
    : bridge_(bridge),
      guard_(guard),
      call_(std::move(call)),
      evaluator_(std::move(evaluator)),
      ledger_(std::move(objective)),
      permit_(std::move(permit)),
      value_(std::move(value)),
      gradient_(std::move(gradient)) {}

py::object UsualFunction::fun(py::handle x) {
  require_run();
  auto& clock = guard_.clock();
  clock.begin(bridge_part_, fun_);
  py::object value;
  if (is_new(x)) {
    const auto found = found_at(x);
    if (is_finite(found)) {
      value = py::reinterpret_borrow<py::object>(field(found, Field::kValue));
    }
  }
  if (!value) {
    value = value_(x);
  }
  clock.begin(solver_part_, py::none());
  return value;
}

py::object UsualFunction::jac(py::handle x) {
  require_run();
  auto& clock = guard_.clock();
  clock.begin(bridge_part_, jac_);
  // Mostly it is there still, as the value was asked for just before.
  const bool is_here = !found_.is_none() && here_.of(evaluator_).is(found_) && is_finite(found_) &&
                       is_vector(x) && same_values(x, field(found_, Field::kX));
  auto gradient = is_here ? py::reinterpret_borrow<py::object>(field(found_, Field::kGradient))
                          : py::object(gradient_(x));
  clock.begin(solver_part_, py::none());
  return gradient;
}

void UsualFunction::require_run() const {
  TORCH_CHECK_VALUE(!call_.is_none(), "fun and jac were called after the run that they are of.");
}

void UsualFunction::forget() {
  ledger_.forget();
  for (auto* held : {&call_, &evaluator_, &permit_, &value_, &gradient_, &found_}) {
    *held = py::none();
  }
}

bool UsualFunction::is_new(py::handle x) const {
  return is_own_vector(x) && guard_.error().is_none() && !same_values(x, x_.of(evaluator_));
}

void UsualFunction::ask_for_permit(int64_t evaluations) {
  using Clock = std::chrono::steady_clock;
  if (permit_.is_none()) {
    return;
  }
  if (evaluations < permitted_evaluations_ && Clock::now() < permitted_until_) {
    return;
  }
  constexpr double a_day = 86400.0;  // infinity is no number of ticks
  const auto [seconds, most] = permit_().cast<std::pair<double, int64_t>>();
  const std::chrono::duration<double> rest(seconds > 0.0 ? std::min(seconds, a_day) : 0.0);
  permitted_until_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(rest);
  permitted_evaluations_ = most;
}

py::object UsualFunction::found_at(py::handle x) {
  const auto evaluations = evaluations_.count_of(evaluator_);
  ask_for_permit(evaluations);
  // A solver that writes into its copy after all hears of it.
  py::detail::array_proxy(x.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  found_ = py::none();
  here_.set(evaluator_, found_);
  x_.set(evaluator_, x);
  bridge_.load_params(x);
  evaluations_.set(evaluator_, py::int_(evaluations + 1));
  const py::object call = call_;
  try {
    found_ = instance_of<ClosureCall>(call.ptr()).evaluate(x);
  } catch (py::error_already_set& error) {
    guard_.remember(error.value());
    throw;
  }
  here_.set(evaluator_, found_);
  ledger_.file(found_);
  return found_;
}

}  // namespace minimize
