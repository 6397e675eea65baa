#include "python/usual_function.h"

#include "python/arrays.h"

#include <cstdint>
#include <utility>

namespace minimize {
namespace {

/// Fields of an evaluation.
enum Field : std::uint8_t { kX, kValue, kGradient, kFinite };

py::handle field(const py::object& found, Field which) {
  return PyTuple_GET_ITEM(found.ptr(), which);
}

bool is_finite(const py::object& found) {
  return field(found, kFinite).ptr() == Py_True;
}

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
    const ArrayBridge& bridge, Guard& guard, py::object call, py::object evaluator, py::object file,
    py::object permit, py::object value, py::object gradient)
    : bridge_(bridge),
      guard_(guard),
      call_(std::move(call)),
      evaluator_(std::move(evaluator)),
      file_(std::move(file)),
      permit_(std::move(permit)),
      value_(std::move(value)),
      gradient_(std::move(gradient)) {}

py::object UsualFunction::fun(const py::object& x) {
  auto& clock = guard_.clock();
  clock.begin(bridge_part_, fun_);
  py::object value;
  if (is_new(x)) {
    const auto found = found_at(x);
    if (is_finite(found)) {
      value = py::reinterpret_borrow<py::object>(field(found, kValue));
    }
  }
  if (!value) {
    value = value_(x);
  }
  clock.begin(solver_part_, py::none());
  return value;
}

py::object UsualFunction::jac(const py::object& x) {
  auto& clock = guard_.clock();
  clock.begin(bridge_part_, jac_);
  // Mostly it is there still, as the value was asked for just before.
  const bool is_here = !found_.is_none() && of_evaluator(here_).is(found_) && is_finite(found_) &&
                       is_vector(x) && same_values(x, field(found_, kX));
  auto gradient = is_here ? py::reinterpret_borrow<py::object>(field(found_, kGradient))
                          : py::object(gradient_(x));
  clock.begin(solver_part_, py::none());
  return gradient;
}

void UsualFunction::forget() {
  for (auto* held : {&call_, &evaluator_, &file_, &permit_, &value_, &gradient_, &found_}) {
    *held = py::none();
  }
}

bool UsualFunction::is_new(py::handle x) const {
  return is_own_vector(x) && guard_.error().is_none() && !same_values(x, of_evaluator(x_));
}

py::object UsualFunction::found_at(const py::object& x) {
  if (!permit_.is_none()) {
    permit_();
  }
  // A solver that writes into its copy after all hears of it.
  py::detail::array_proxy(x.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  found_ = py::none();
  py::setattr(evaluator_, here_, found_);
  py::setattr(evaluator_, x_, x);
  bridge_.load_params(x);
  const auto before = of_evaluator(evaluations_).cast<int64_t>();
  py::setattr(evaluator_, evaluations_, py::int_(before + 1));
  try {
    found_ = call_(x);
  } catch (py::error_already_set& error) {
    guard_.remember(error.value());
    throw;
  }
  py::setattr(evaluator_, here_, found_);
  file_(found_);
  return found_;
}

py::object UsualFunction::of_evaluator(const py::str& name) const {
  return py::getattr(evaluator_, name);
}

}  // namespace minimize
