#pragma once

#include "autograd/curvature.h"
#include "flat/parameter_bridge.h"
#include "python/arrays.h"
#include "python/tensors.h"

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

/// A ParameterBridge and the flat vectors that cross it: Arrays or Tensors.
template <class Vectors>
class PyBridge {
 public:
  using Vector = typename Vectors::Vector;
  using Rows = typename Vectors::Rows;

  PyBridge(std::shared_ptr<const ParameterBridge> core, Vectors made)
      : bridge(std::move(core)), vectors(std::move(made)) {}

  Vector flatten_params() const {
    return fill(bridge->reading_params());
  }
  Vector flatten_grads() const {
    return fill(bridge->reading_grads());
  }
  Vector flatten(const py::iterable& tensors) const {
    return fill(bridge->reading(to_tensors(tensors, true)));
  }
  std::pair<Vector, bool> gradient() const {
    auto [vector, gathered] = gather(bridge->reading_grads());
    return {std::move(vector), gathered.finite};
  }
  /// The same, and max |g_i| where it is finite and no device keeps that to itself.
  std::pair<Vector, FlatPass::Gathered> measured_gradient() const {
    return gather(bridge->reading_grads());
  }
  void load_params(py::handle x) const {
    scatter(x, &ParameterBridge::writing_params);
  }
  void load_grads(py::handle x) const {
    scatter(x, &ParameterBridge::writing_grads);
  }
  std::vector<at::Tensor> unflatten(py::handle x) const;

  /// The loss, the gradient, whether all of the gradient is finite, and the seconds that
  /// were waited for a device to compute them. A loss that is on a device with parameters
  /// comes in the gradient's transfer.
  std::tuple<double, Vector, bool, double> evaluation(const at::Tensor& loss) const;

  /// Rows, one vector each: from a stack for each parameter, whether all is finite, and back.
  bool flatten_rows(const py::iterable& stacks, Rows& out) const;
  std::vector<at::Tensor> unflatten_rows(const Rows& v) const;

  const std::shared_ptr<const ParameterBridge> bridge;
  const Vectors vectors;

 private:
  Vector fill(FlatPass&& pass) const;
  std::pair<Vector, FlatPass::Gathered> gather(FlatPass&& pass) const;
  void scatter(py::handle x, FlatPass (ParameterBridge::*writing)() const) const;
};

using ArrayBridge = PyBridge<Arrays>;
using TensorBridge = PyBridge<Tensors>;

ArrayBridge array_bridge(const py::iterable& params, const FindLane& find_lane = lane_of_device);
/// The same bridge for vectors on the parameters' device.
TensorBridge tensor_bridge(const ArrayBridge& bridge);

/// A bridge over tensors of which the i-th distinct one crosses by kernels of another
/// extension's, on the lane lanes[i % size]; on the host where that is negative.
ArrayBridge bridge_with_kernels(
    const py::iterable& params, const py::capsule& kernels, const std::vector<int64_t>& lanes);

/// A HessianOperator on the vectors of its bridge.
template <class Vectors>
class PyHessian {
 public:
  using Vector = typename Vectors::Vector;
  using Rows = typename Vectors::Rows;

  explicit PyHessian(const PyBridge<Vectors>& bridge)
      : hessian(bridge.bridge), vectors_(bridge.vectors) {}

  void add(
      const std::vector<at::Tensor>& roots, const py::iterable& seeds,
      const std::optional<std::vector<at::Tensor>>& inputs, bool fill_grads);
  std::pair<Vector, bool> product(py::handle v) const;
  std::pair<Vector, bool> last_product(py::handle v);
  std::vector<at::Tensor> unpack_rows(const Rows& v) const;

  HessianOperator hessian;

 private:
  const Vectors vectors_;
};

}  // namespace minimize
