#include "python/py_bridge.h"

#include <c10/util/Exception.h>

#include <string>
#include <string_view>

namespace minimize {
namespace {

/// Releases the GIL for the passes that are long enough, and those that wait for a device.
struct Unlocked {
  explicit Unlocked(const ParameterBridge& bridge) {
    if (bridge.numel() >= kSerialReals || bridge.has_device()) {
      released.emplace();
    }
  }
  std::optional<py::gil_scoped_release> released;
};

}  // namespace

std::vector<at::Tensor> to_tensors(const py::iterable& items, bool none_is_zeros) {
  std::vector<at::Tensor> tensors;
  for (const auto item : items) {
    py::detail::make_caster<at::Tensor> caster;
    if (none_is_zeros && item.is_none()) {
      tensors.emplace_back();
      continue;
    }
    TORCH_CHECK_TYPE(
        caster.load(item, false), "expected a list of tensors, got ",
        std::string(py::str(py::type::of(item).attr("__name__"))), " at position ", tensors.size(),
        ".");
    tensors.push_back(py::detail::cast_op<at::Tensor>(caster));
  }
  return tensors;
}

ArrayBridge array_bridge(const py::iterable& params, const FindLane& find_lane) {
  auto core = std::make_shared<const ParameterBridge>(to_tensors(params, false), find_lane);
  Arrays arrays(*core);
  return {std::move(core), std::move(arrays)};
}

TensorBridge tensor_bridge(const ArrayBridge& bridge) {
  return {bridge.bridge, Tensors(*bridge.bridge, bridge.vectors.pool())};
}

ArrayBridge bridge_with_kernels(
    const py::iterable& params, const py::capsule& kernels, const std::vector<int64_t>& lanes) {
  TORCH_CHECK_VALUE(!lanes.empty(), "expected at least one lane.");
  const auto* const found = kernels_in(kernels);
  return array_bridge(params, [&](size_t i, const at::Tensor& param) -> std::optional<LaneKey> {
    const int64_t number = lanes[i % lanes.size()];
    return number < 0 ? std::nullopt : std::optional<LaneKey>({param.device(), found, number});
  });
}

template <class Vectors>
typename Vectors::Vector PyBridge<Vectors>::fill(FlatPass&& pass) const {
  auto vector = vectors.make();
  double* const out = Vectors::writable(vector);
  const Unlocked unlocked(*bridge);
  pass.fill(out, vectors.memory());
  return vector;
}

template <class Vectors>
std::pair<typename Vectors::Vector, FlatPass::Gathered> PyBridge<Vectors>::gather(
    FlatPass&& pass) const {
  auto vector = vectors.make();
  double* const out = Vectors::writable(vector);
  const Unlocked unlocked(*bridge);
  const auto gathered = pass.gather(out, vectors.memory());
  return {std::move(vector), gathered};
}

template <class Vectors>
void PyBridge<Vectors>::scatter(py::handle x, FlatPass (ParameterBridge::*writing)() const) const {
  const auto input = vectors.input(x);
  auto pass = (*bridge.*writing)();
  const Unlocked unlocked(*bridge);
  pass.scatter(input.data(), vectors.memory());
}

template <class Vectors>
std::vector<at::Tensor> PyBridge<Vectors>::unflatten(py::handle x) const {
  const auto input = vectors.input(x);
  const Unlocked unlocked(*bridge);
  return bridge->unpack(input.data(), vectors.memory());
}

template <class Vectors>
std::tuple<double, typename Vectors::Vector, bool, double> PyBridge<Vectors>::evaluation(
    const at::Tensor& loss) const {
  auto pass = bridge->reading_grads();
  const bool is_carried = pass.carry(loss);
  double value = 0.0;
  if (!is_carried) {
    const Unlocked unlocked(*bridge);
    value = loss.item().toDouble();
  }
  auto [gradient, gathered] = gather(std::move(pass));
  return {is_carried ? pass.carried() : value, std::move(gradient), gathered.finite, pass.waited()};
}

template <class Vectors>
bool PyBridge<Vectors>::flatten_rows(const py::iterable& stacks, Rows& out) const {
  const auto rows = vectors.count(out);
  const auto tensors = to_tensors(stacks, true);
  double* const to = Vectors::writable(out);
  const py::gil_scoped_release unlocked;
  return bridge->pack_rows(tensors, rows, to, vectors.rows_memory());
}

template <class Vectors>
std::vector<at::Tensor> PyBridge<Vectors>::unflatten_rows(const Rows& v) const {
  const auto rows = vectors.count(v);
  const double* const from = Vectors::data(v);
  const py::gil_scoped_release unlocked;
  return bridge->unpack_rows(from, rows, vectors.rows_memory());
}

template <class Vectors>
void PyHessian<Vectors>::add(
    const std::vector<at::Tensor>& roots, const py::iterable& seeds,
    const std::optional<std::vector<at::Tensor>>& inputs, bool fill_grads) {
  const auto given = to_tensors(seeds, true);
  const py::gil_scoped_release unlocked;
  hessian.add(roots, given, inputs, fill_grads);
}

template <class Vectors>
std::pair<typename Vectors::Vector, bool> PyHessian<Vectors>::product(py::handle v) const {
  const auto input = vectors_.input(v);
  auto vector = vectors_.make();
  double* const out = Vectors::writable(vector);
  const py::gil_scoped_release unlocked;
  const bool finite = hessian.product(input.data(), out, vectors_.memory());
  return {std::move(vector), finite};
}

template <class Vectors>
std::pair<typename Vectors::Vector, bool> PyHessian<Vectors>::last_product(py::handle v) {
  const auto input = vectors_.input(v);
  auto vector = vectors_.make();
  double* const out = Vectors::writable(vector);
  const py::gil_scoped_release unlocked;
  const bool finite = hessian.last_product(input.data(), out, vectors_.memory());
  return {std::move(vector), finite};
}

template <class Vectors>
std::vector<at::Tensor> PyHessian<Vectors>::unpack_rows(const Rows& v) const {
  const auto rows = vectors_.count(v);
  const double* const from = Vectors::data(v);
  const py::gil_scoped_release unlocked;
  return hessian.unpack_rows(from, rows, vectors_.rows_memory());
}

template class PyBridge<Arrays>;
template class PyBridge<Tensors>;
template class PyHessian<Arrays>;
template class PyHessian<Tensors>;

}  // namespace minimize
