#pragma once

#include "python/guard.h"
#include "python/py_bridge.h"

#include <torch/csrc/utils/pybind.h>

#include <optional>

namespace minimize {

/// An evaluation in one call: the closure is run, and what it gave is read.
///
/// What is usual is decided here. Anything else goes to the runner, in Python: the first
/// loss of a kind, one that is no tensor, or without a graph, or on a device; and exceptions.
class ClosureCall {
 public:
  /// `runner` runs the closure over the parameters of this bridge; `made` is the named tuple that
  /// an evaluation is. With `differentiates` a loss that was only returned is differentiated here.
  ClosureCall(
      const ArrayBridge& bridge, Guard& guard, py::object runner, py::type made,
      bool differentiates);

  /// An evaluation at x, where the parameters are: the loss, the gradient, whether both are finite,
  /// whether the loss stands for an exception, and max |g_i|, or NaN where nobody has looked.
  py::object evaluate(py::handle x);

 private:
  /// A loss that was read, or one on a device, which comes with the gradient.
  struct Loss {
    double value;
    std::optional<at::Tensor> waits;
  };
  struct Found {
    double value;
    py::array gradient;
    bool finite;
    double largest;
  };

  Loss run();
  /// The loss if it is of the usual kind, with its gradient.
  std::optional<double> usual(const py::object& returned);
  double differentiated(const at::Tensor& loss, double value);
  Loss settled(const py::object& returned);
  Found read(const Loss& loss) const;

  const ArrayBridge bridge_;
  Guard& guard_;
  py::object runner_;
  py::type made_;
  bool differentiates_;
  const py::object backward_;  // of all tensors
  py::str part_ = interned("closure");
  /// The dtype of losses that the runner has looked at, and seen to depend on the parameters.
  std::optional<at::ScalarType> usual_;
  bool recovered_ = false;
};

}  // namespace minimize
