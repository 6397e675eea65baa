#include "python/ledger.h"

#include "python/evaluation.h"

#include <cmath>

namespace minimize {

void Ledger::file(const py::object& found) const {
  const bool is_usual = is_finite(found) && !is_restricted_.is_true_of(objective_) &&
                        !iterate_.of(objective_).is_none();
  if (!is_usual) {
    observe_.of(objective_)(found);
    return;
  }
  const auto value = field(found, Field::kValue);
  const double number = py::cast<double>(value);
  filed_.set(objective_, found);
  last_finite_.set(objective_, found);
  raise(level_, value);
  raise(worst_, value);
  raise(largest_, number < 0.0 ? py::float_(-number) : value);
  if (number < best_value_.number_of(objective_)) {
    best_x_.set(objective_, field(found, Field::kX));
    best_value_.set(objective_, value);
    best_violation_.set(objective_, py::float_(0.0));
  }
}

void Ledger::turn_to(py::handle x, py::handle found) const {
  const auto value = field(found, Field::kValue);
  iterate_.set(objective_, py::make_tuple(x, value, py::none(), true));
  level_.set(objective_, value);
  const py::tuple marks = marks_.of(objective_);
  marks_.set(objective_, py::make_tuple(marks[1], nonfinite_.of(objective_)));
}

void Ledger::raise(const Attribute& level, py::handle value) const {
  if (py::cast<double>(value) > level.number_of(objective_)) {
    level.set(objective_, value);
  }
}

}  // namespace minimize
