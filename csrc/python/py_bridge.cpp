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

std::shared_ptr<PyBridge> PyBridge::with_kernels(
    const py::iterable& params, const py::capsule& kernels, const std::vector<int64_t>& lanes) {
  TORCH_CHECK_VALUE(
      kernels.name() == std::string_view(kKernelsCapsule) && !lanes.empty(),
      "expected a capsule named ", kKernelsCapsule, " and at least one lane.");
  const auto* const found = kernels.get_pointer<const DeviceKernels>();
  const auto find_lane = [&](size_t i, const at::Tensor& param) -> std::optional<LaneKey> {
    const int64_t number = lanes[i % lanes.size()];
    return number < 0 ? std::nullopt : std::optional<LaneKey>({param.device(), found, number});
  };
  return std::make_shared<PyBridge>(params, find_lane);
}

std::pair<py::array, bool> PyBridge::gather(FlatPass&& pass) const {
  auto array = new_array(*pool, bridge.numel());
  double* const out = array.mutable_data();
  const Unlocked unlocked(bridge);
  const bool finite = pass.gather(out, Past::kTail);
  return {std::move(array), finite};
}

void PyBridge::scatter(const FlatInput& x, FlatPass&& pass) const {
  const Unlocked unlocked(bridge);
  pass.scatter(x.data());
}

std::vector<at::Tensor> PyBridge::unflatten(const FlatInput& x) const {
  const Unlocked unlocked(bridge);
  return bridge.unpack(x.data());
}

std::tuple<double, py::array, bool, double> PyBridge::evaluation(const at::Tensor& loss) const {
  auto pass = bridge.reading_grads();
  const bool is_carried = pass.carry(loss);
  double value = 0.0;
  if (!is_carried) {
    const Unlocked unlocked(bridge);
    value = loss.item().toDouble();
  }
  auto [gradient, finite] = gather(std::move(pass));
  return {is_carried ? pass.carried() : value, std::move(gradient), finite, pass.waited()};
}

void PyHessian::add(
    const std::vector<at::Tensor>& roots, const py::iterable& seeds,
    const std::optional<std::vector<at::Tensor>>& inputs, bool fill_grads) {
  const auto given = to_tensors(seeds, true);
  const py::gil_scoped_release unlocked;
  hessian.add(roots, given, inputs, fill_grads);
}

std::pair<py::array, bool> PyHessian::product(py::handle v) const {
  const auto input = bridge_->input(v);
  auto array = new_array(*bridge_->pool, hessian.numel());
  double* const out = array.mutable_data();
  const py::gil_scoped_release unlocked;
  const bool finite = hessian.product(input.data(), out, Past::kTail);
  return {std::move(array), finite};
}

std::vector<at::Tensor> PyHessian::unpack_rows(const Rows& v) const {
  const auto rows = check_rows(v);
  return hessian.unpack_rows(v.data(), rows);
}

bool PyHessian::pack_rows(const py::iterable& stacks, Rows& out) const {
  const auto rows = check_rows(out);
  return hessian.pack_rows(to_tensors(stacks, true), rows, out.mutable_data());
}

int64_t PyHessian::check_rows(const Rows& array) const {
  TORCH_CHECK_VALUE(
      array.ndim() == 2 && array.shape(1) == hessian.numel(), "expected an array of shape (rows, ",
      hessian.numel(), "), got ", std::string(py::str(array.attr("shape"))), ".");
  return array.shape(0);
}

}  // namespace minimize
