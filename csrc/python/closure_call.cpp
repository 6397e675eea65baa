#include "python/closure_call.h"

#include <ATen/PythonTorchFunctionTLS.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/python_variable.h>

#include <cmath>
#include <limits>
#include <utility>

namespace minimize {
namespace {

/// loss.backward(), with torch's own exceptions and warnings.
void backward(const at::Tensor& loss) {
  static const auto run = torch::wrap_pybind_function_no_gil(
      [](const at::Tensor& root) { torch::autograd::backward({root}); });
  run(loss);
}

}  // namespace

ClosureCall::ClosureCall(
    const ArrayBridge& bridge, Guard& guard, py::object runner, py::type made, bool differentiates)
    : bridge_(bridge),
      guard_(guard),
      runner_(std::move(runner)),
      made_(std::move(made)),
      differentiates_(differentiates && !bridge.bridge->has_device()),
      backward_(py::handle(THPVariableClass).attr("backward")) {}

py::object ClosureCall::evaluate(py::handle x) {
  auto [value, gradient, finite, largest] = read(guard_.run(part_, part_, [&] { return run(); }));
  const py::object fields[] = {
      py::reinterpret_borrow<py::object>(x),
      py::float_(value),
      std::move(gradient),
      py::bool_(finite && std::isfinite(value)),
      py::bool_(recovered_),
      py::float_(largest),
      py::tuple(0)};
  // As the named tuple's own constructor, which is a function of Python, does it.
  auto* const type = reinterpret_cast<PyTypeObject*>(made_.ptr());
  auto made = py::reinterpret_steal<py::object>(type->tp_alloc(type, std::size(fields)));
  if (!made) {
    throw py::error_already_set();
  }
  for (size_t i = 0; i < std::size(fields); ++i) {
    PyTuple_SET_ITEM(made.ptr(), i, fields[i].inc_ref().ptr());
  }
  return made;
}

ClosureCall::Found ClosureCall::read(const Loss& loss) const {
  if (loss.waits) {
    auto [value, gradient, finite, waited] = bridge_.evaluation(*loss.waits);
    guard_.clock().attribute(part_, waited);
    return {value, std::move(gradient), finite, std::numeric_limits<double>::quiet_NaN()};
  }
  auto [gradient, gathered] = bridge_.measured_gradient();
  return {loss.value, std::move(gradient), gathered.finite, gathered.largest};
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
    returned = runner_.attr(part_)();
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

std::optional<double> ClosureCall::usual(const py::object& returned) {
  if (!usual_ || !THPVariable_CheckExact(returned.ptr())) {
    return std::nullopt;
  }
  const at::Tensor& loss = THPVariable_Unpack(returned.ptr());
  if (!loss.is_cpu() || loss.numel() != 1 || loss.scalar_type() != *usual_) {
    return std::nullopt;
  }
  if (bridge_.bridge->has_grads()) {
    return loss.item().toDouble();
  }
  // Code that looks at torch's functions, as that of a mode does, is to see the call.
  if (!differentiates_ || !loss.requires_grad() || at::impl::torch_function_mode_enabled()) {
    return std::nullopt;
  }
  // As is whoever puts another in its place, on this loss or on all.
  const py::object method = returned.attr("backward");
  if (!PyMethod_Check(method.ptr()) || PyMethod_GET_FUNCTION(method.ptr()) != backward_.ptr()) {
    return std::nullopt;
  }
  return differentiated(loss, loss.item().toDouble());
}

/// The runner has seen such a loss to depend on the parameters: it may have no slope here.
double ClosureCall::differentiated(const at::Tensor& loss, double value) {
  try {
    backward(loss);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_Exception)) {
      throw;
    }
    const py::object excused = runner_.attr("excused")(value, error.value());
    if (excused.is_none()) {
      throw;
    }
    recovered_ = runner_.attr("recovered").cast<bool>();
    return excused.cast<double>();
  }
  return value;
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
