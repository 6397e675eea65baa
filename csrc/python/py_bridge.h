#pragma once

#include "autograd/curvature.h"
#include "flat/parameter_bridge.h"
#include "python/arrays.h"

#include <torch/csrc/utils/pybind.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

namespace minimize {

/// The items as tensors, None as an undefined one where it stands for zeros. TypeError
/// for anything else.
std::vector<at::Tensor> to_tensors(const py::iterable& items, bool none_is_zeros);

/// A ParameterBridge whose flat vectors are arrays of a pool of its own.
class PyBridge {
 public:
  explicit PyBridge(const py::iterable& params, const FindLane& find_lane = lane_of_device)
      : bridge(to_tensors(params, false), find_lane),
        pool(std::make_shared<FlatPool>(bridge.numel(), bridge.source())) {}

  std::pair<py::array, bool> gather(FlatPass&& pass) const;
  void scatter(const FlatInput& x, FlatPass&& pass) const;
  std::vector<at::Tensor> unflatten(const FlatInput& x) const;
  FlatInput input(py::handle x) const {
    return {x, bridge.numel()};
  }

  /// A bridge over tensors of which the i-th distinct one crosses by kernels of another
  /// extension's, on the lane lanes[i % size]; on the host where that is negative.
  static std::shared_ptr<PyBridge> with_kernels(
      const py::iterable& params, const py::capsule& kernels, const std::vector<int64_t>& lanes);

  /// The loss, the gradient, whether all of the gradient is finite, and the seconds that
  /// were waited for a device to compute them. A loss that is on a device with parameters
  /// comes in the gradient's transfer.
  std::tuple<double, py::array, bool, double> evaluation(const at::Tensor& loss) const;

  const ParameterBridge bridge;
  const std::shared_ptr<FlatPool> pool;
};

/// Flat vectors, one a row.
using Rows = py::array_t<double, py::array::c_style>;

/// A HessianOperator on arrays, which come from its bridge's pool.
class PyHessian {
 public:
  explicit PyHessian(const std::shared_ptr<const PyBridge>& bridge)
      : hessian({bridge, &bridge->bridge}), bridge_(bridge) {}

  void add(
      const std::vector<at::Tensor>& roots, const py::iterable& seeds,
      const std::optional<std::vector<at::Tensor>>& inputs, bool fill_grads);
  std::pair<py::array, bool> product(py::handle v) const;
  std::vector<at::Tensor> unpack_rows(const Rows& v) const;
  bool pack_rows(const py::iterable& stacks, Rows& out) const;

  HessianOperator hessian;

 private:
  int64_t check_rows(const Rows& array) const;

  std::shared_ptr<const PyBridge> bridge_;
};

}  // namespace minimize
