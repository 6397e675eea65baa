#pragma once

#include "python/attribute.h"

namespace minimize {

/// The ledger of a run, which is an Objective of Python's: what that does at a point that is
/// finite and where no constraint has a say. It asks the objective for all else.
class Ledger {
 public:
  explicit Ledger(py::object objective) : objective_(std::move(objective)) {}

  /// Objective.observe.
  void file(const py::object& found) const;
  /// Objective.next_iteration at x, where `found` is known, which is finite.
  void turn_to(py::handle x, py::handle found) const;
  /// The run is over.
  void forget() {
    objective_ = py::none();
  }

 private:
  void raise(const Attribute& level, py::handle value) const;

  py::object objective_;
  Attribute observe_{"observe"}, is_restricted_{"_is_restricted"};
  Attribute filed_{"_filed"}, iterate_{"_iterate"}, last_finite_{"last_finite"};
  Attribute level_{"level"}, worst_{"worst"}, largest_{"largest"};
  Attribute best_x_{"best_x"}, best_value_{"best_value"}, best_violation_{"_best_violation"};
  Attribute marks_{"_marks"}, nonfinite_{"nonfinite"};
};

}  // namespace minimize
