#include "python/closure_call.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/python_variable.h>

#include <cmath>
#include <limits>
#include <utility>

namespace minimize {

ClosureCall::ClosureCall(const ArrayBridge& bridge, Guard& guard, py::object runner)
    : bridge_(bridge), guard_(guard), runner_(std::move(runner)) {}

std::tuple<double, py::array, bool, bool, double> ClosureCall::evaluate() {
  auto loss = guard_.run(part_, part_, [&] { return run(); });
  if (loss.waits) {
    auto [value, gradient, finite, waited] = bridge_.evaluation(*loss.waits);
    guard_.clock().attribute(part_, waited);
    constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
    return {value, std::move(gradient), finite && std::isfinite(value), recovered_, unknown};
  }
  auto [gradient, gathered] = bridge_.measured_gradient();
  const bool finite = gathered.finite && std::isfinite(loss.value);
  return {loss.value, std::move(gradient), finite, recovered_, gathered.largest};
}

ClosureCall::Loss ClosureCall::run() {
  if (std::exchange(recovered_, false)) {
    runner_.attr("recovered") = false;
  }
  bridge_.bridge->clear_grads();
  // Under autocast torch keeps casts of the parameters, which were written to meanwhile.
  at::autocast::clear_cache();
  const at::AutoGradMode recording(true);
  py::object returned;
  try {
    returned = runner_.attr("closure")();
  } catch (py::error_already_set& error) {
    if (!error.matches(runner_.attr("recover"))) {
      throw;
    }
    returned = runner_.attr("recover_from")(error.value());
    recovered_ = true;
  }
  if (const auto value = usual(returned)) {
    return {*value, std::nullopt};
  }
  return settled(returned);
}

std::optional<double> ClosureCall::usual(const py::object& returned) const {
  if (!usual_ || !THPVariable_CheckExact(returned.ptr())) {
    return std::nullopt;
  }
  const at::Tensor& loss = THPVariable_Unpack(returned.ptr());
  const bool is_known = loss.is_cpu() && loss.numel() == 1 && loss.scalar_type() == *usual_;
  if (!is_known || !bridge_.bridge->has_grads()) {
    return std::nullopt;
  }
  return loss.item().toDouble();
}

ClosureCall::Loss ClosureCall::settled(const py::object& returned) {
  usual_.reset();
  const py::object found = runner_.attr("settle")(returned);
  recovered_ = recovered_ || runner_.attr("recovered").cast<bool>();
  if (THPVariable_Check(found.ptr())) {
    return {0.0, THPVariable_Unpack(found.ptr())};
  }
  if (THPVariable_CheckExact(returned.ptr()) && runner_.attr("reaches").cast<bool>()) {
    usual_ = THPVariable_Unpack(returned.ptr()).scalar_type();
  }
  return {found.cast<double>(), std::nullopt};
}

}  // namespace minimize
