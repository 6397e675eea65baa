#pragma once

#include "device/kernels.h"
#include "flat/parameter_bridge.h"
#include "host/memory.h"

#include <ATen/core/Tensor.h>
#include <torch/csrc/utils/pybind.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace minimize {

/// A caller's vector, read in place where its memory allows, copied otherwise.
class TensorInput {
 public:
  /// Throws TypeError or ValueError unless x is a float64 tensor of shape (numel,) there.
  TensorInput(py::handle x, int64_t numel, c10::Device device);
  const double* data() const {
    return tensor_.const_data_ptr<double>();
  }

 private:
  at::Tensor tensor_;
};

/// Flat vectors as tensors on the parameters' device: what they are made of, and where.
class Tensors {
 public:
  using Vector = at::Tensor;
  using Rows = at::Tensor;

  /// The pool's vectors are of the bridge's length.
  Tensors(const ParameterBridge& bridge, std::shared_ptr<FlatPool> pool)
      : numel_(bridge.numel()),
        device_(bridge.device()),
        memory_(bridge.tensor_memory()),
        pool_(std::move(pool)) {}

  Memory memory() const {
    return memory_;
  }
  Memory rows_memory() const {
    return memory_ == Memory::kDevice ? Memory::kDevice : Memory::kHost;
  }
  /// On the host a vector of the pool, which gets the memory back with the last reference;
  /// elsewhere torch's allocator recycles in the same way.
  Vector make() const;
  static double* writable(const at::Tensor& vectors) {
    return vectors.mutable_data_ptr<double>();
  }
  TensorInput input(py::handle x) const {
    return {x, numel_, device_};
  }
  /// How many vectors those are; ValueError if they are none of this length and device, one
  /// after the other in memory.
  int64_t count(const Rows& rows) const;
  static const double* data(const Rows& rows) {
    return rows.const_data_ptr<double>();
  }

  const std::shared_ptr<FlatPool>& pool() const {
    return pool_;
  }

 private:
  int64_t numel_;
  c10::Device device_;
  Memory memory_;
  std::shared_ptr<FlatPool> pool_;
};

/// Those of a capsule; ValueError if it is another one.
const DeviceKernels* kernels_in(const py::capsule& capsule);

/// H v by the kernels of H's device, or by those of a capsule; a new tensor. H is symmetric and
/// stored in full: a contiguous float64 tensor of shape [n, n], or ValueError says what it is.
at::Tensor device_product(
    const at::Tensor& h, py::handle v, const std::optional<py::capsule>& kernels);

/// The same of what a change makes of H, in one pass.
at::Tensor device_rank_two_product(
    const at::Tensor& h, double tau, double ss, double sw, double ww, py::handle s, py::handle w,
    py::handle v, const std::optional<py::capsule>& kernels);

/// Those of host/pairs.h by the kernels of w's device, or by those of a capsule, over the first
/// rows of w, a contiguous tensor of float64 or float32; the sums are a new tensor.
at::Tensor device_pair_sums(
    const at::Tensor& w, int64_t used, py::handle gradient, py::handle before, py::handle direction,
    const std::optional<py::capsule>& kernels);
void device_pair_turn(
    const at::Tensor& w, double gamma, py::handle weights, int64_t slot, double step,
    py::handle gradient, py::handle before, const at::Tensor& direction,
    const std::optional<py::capsule>& kernels);

}  // namespace minimize
