#pragma once

#include "flat/parameter_bridge.h"
#include "host/memory.h"

#include <pybind11/numpy.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

namespace minimize {

namespace py = pybind11;

/// A caller's vector, read in place where its memory allows, copied otherwise.
class FlatInput {
 public:
  /// Throws TypeError or ValueError unless x is a float64 array of shape (numel,).
  FlatInput(py::handle x, int64_t numel);
  const double* data() const {
    return data_;
  }

 private:
  py::array array_;
  const double* data_;
};

/// Flat vectors as numpy's arrays: what they are made of, and where.
class Arrays {
 public:
  using Vector = py::array;
  using Rows = py::array_t<double, py::array::c_style>;

  explicit Arrays(const ParameterBridge& bridge)
      : numel_(bridge.numel()),
        pool_(std::make_shared<FlatPool>(bridge.numel(), bridge.source())) {}

  Memory memory() const {
    return Memory::kPooled;
  }
  Memory rows_memory() const {
    return Memory::kHost;
  }
  /// A vector of the pool, which gets the memory back with the last reference.
  Vector make() const;
  static double* writable(py::array& vectors) {
    return static_cast<double*>(vectors.mutable_data());
  }
  FlatInput input(py::handle x) const {
    return {x, numel_};
  }
  /// How many vectors those are; ValueError if they are none of this length.
  int64_t count(const Rows& rows) const;
  static const double* data(const Rows& rows) {
    return rows.data();
  }

  const std::shared_ptr<FlatPool>& pool() const {
    return pool_;
  }

 private:
  int64_t numel_;
  std::shared_ptr<FlatPool> pool_;
};

/// Whether x is a one-dimensional float64 array.
bool is_vector(py::handle x);

/// Those of host/vector_ops.h on float64 arrays; TypeError or ValueError for anything else.
bool same_values(py::handle a, py::handle b);
double distance(py::handle a, py::handle b);
std::pair<bool, double> compare_and_measure(py::handle x, py::handle known, py::handle before);
double largest(py::handle v);

py::array combined(const std::vector<double>& coefficients, const std::vector<py::object>& vectors);

/// A symmetric matrix of shape (n, n), of which the part on and below the diagonal is used; must
/// be float64, contiguous and writable, or TypeError or ValueError says what it is.
using Matrix = py::array_t<double, py::array::c_style>;

/// Those of host/rank_two.h; their result is a new array.
py::array symmetric_product(const Matrix& h, py::handle v);
py::array rank_two_product(
    Matrix& h, double tau, double ss, double sw, double ww, py::handle s, py::handle w,
    py::handle v);
std::tuple<py::array, double, double, double, double> curvature(
    py::handle product, py::handle p, py::handle g, py::handle before);

/// Those of host/pairs.h over the first rows of w, a contiguous array of float64 or float32 of
/// shape (rows, n); the sums are a new array. TypeError or ValueError for anything else.
py::array pair_sums(
    const py::array& w, int64_t used, py::handle gradient, py::handle before, py::handle direction);
double pair_turn(
    py::array& w, double gamma, py::handle weights, int64_t slot, double step, py::handle gradient,
    py::handle before, py::array_t<double>& direction);

/// That of host/compact.h on arrays of shape (m, m) and, if there is one, (m,), and the slots in
/// use: gamma, rows and along. ValueError for anything else.
std::tuple<double, py::array, double> pair_weights(
    const Matrix& sy, const Matrix& yy, const std::optional<py::array_t<double>>& tau,
    const std::vector<int64_t>& order, double gamma, const std::vector<double>& products);

}  // namespace minimize
