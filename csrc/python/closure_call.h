#pragma once

#include "python/guard.h"
#include "python/py_bridge.h"

#include <torch/csrc/utils/pybind.h>

#include <optional>
#include <tuple>

namespace minimize {

/// An evaluation in one call: the closure is run, and what it gave is read.
///
/// What is usual is decided here. Anything else goes to the runner, in Python: the first
/// loss of a kind, one that is no tensor, or without a graph, or on a device; and exceptions.
class ClosureCall {
 public:
  /// `runner` runs the closure over the parameters of this bridge.
  ClosureCall(const ArrayBridge& bridge, Guard& guard, py::object runner);

  /// The loss, the gradient, whether both are finite, whether the loss stands for an exception, and
  /// max |g_i|, or NaN where nobody has looked.
  std::tuple<double, py::array, bool, bool, double> evaluate();

 private:
  /// A loss that was read, or one on a device, which comes with the gradient.
  struct Loss {
    double value;
    std::optional<at::Tensor> waits;
  };

  Loss run();
  /// The loss if it is of the usual kind, and its gradient is there.
  std::optional<double> usual(const py::object& returned) const;
  Loss settled(const py::object& returned);

  const ArrayBridge bridge_;
  Guard& guard_;
  py::object runner_;
  py::str part_{"closure"};
  /// The dtype of losses that the runner has looked at, and seen to depend on the parameters.
  std::optional<at::ScalarType> usual_;
  bool recovered_ = false;
};

}  // namespace minimize
