#include "python/arrays.h"

#include "host/compact.h"
#include "host/pairs.h"
#include "host/rank_two.h"
#include "host/vector_ops.h"

#include <c10/util/Exception.h>

#include <string>

namespace minimize {
namespace {

std::string describe(py::handle x) {
  if (!py::isinstance<py::array>(x)) {
    return py::str(py::type::of(x).attr("__name__"));
  }
  return "an array of shape " + std::string(py::str(x.attr("shape"))) + " and dtype " +
         std::string(py::str(x.attr("dtype")));
}

/// Mostly by numpy's one descriptor of the dtype: pybind11's own test is half of a short call.
bool is_float64(py::handle x) {
  static const py::handle usual = py::dtype::of<double>().release();
  return (py::isinstance<py::array>(x) && py::detail::array_proxy(x.ptr())->descr == usual.ptr()) ||
         py::isinstance<py::array_t<double>>(x);
}

int64_t check_square(const Matrix& h) {
  TORCH_CHECK_VALUE(
      h.ndim() == 2 && h.shape(0) == h.shape(1), "expected an array of shape (n, n), got ",
      describe(h), ".");
  return h.shape(0);
}

/// The first rows of w, their vectors aside.
Pairs pairs_of(const py::array& w, int64_t used) {
  const bool single = py::isinstance<py::array_t<float>>(w);
  TORCH_CHECK_TYPE(
      single || py::isinstance<py::array_t<double>>(w), "expected rows of float64 or float32, got ",
      describe(w), ".");
  TORCH_CHECK_VALUE(
      w.ndim() == 2 && (w.flags() & py::array::c_style) && used >= 0 && used <= w.shape(0),
      "expected a contiguous array of at least ", used, " rows, got ", describe(w), ".");
  // Not written to where sums are taken.
  return {const_cast<void*>(w.data()), single, w.shape(1), used, nullptr, nullptr};
}

}  // namespace

bool is_vector(py::handle x) {
  return is_float64(x) && py::reinterpret_borrow<py::array>(x).ndim() == 1;
}

py::array Arrays::make() const {
  auto memory = pool_->take();
  const py::capsule owner(memory.get_context(), memory.get_deleter());
  memory.release_context();
  return py::array_t<double>(numel_, static_cast<const double*>(memory.get()), owner);
}

int64_t Arrays::count(const Rows& rows) const {
  TORCH_CHECK_VALUE(
      rows.ndim() == 2 && rows.shape(1) == numel_, "expected an array of shape (rows, ", numel_,
      "), got ", std::string(py::str(rows.attr("shape"))), ".");
  return rows.shape(0);
}

FlatInput::FlatInput(py::handle x, int64_t numel) {
  TORCH_CHECK_TYPE(
      is_float64(x), "x must be a float64 array of shape (", numel, ",), got ", describe(x), ".");
  array_ = py::reinterpret_borrow<py::array>(x);
  TORCH_CHECK_VALUE(
      array_.ndim() == 1 && array_.shape(0) == numel, "x must be a float64 array of shape (", numel,
      ",), got ", describe(x), ".");
  constexpr int contiguous = py::array::c_style;
  constexpr int aligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  if ((array_.flags() & (contiguous | aligned)) != (contiguous | aligned)) {
    array_ = py::array(array_.attr("copy")());
  }
  data_ = static_cast<const double*>(array_.data());
}

bool same_values(py::handle a, py::handle b) {
  TORCH_CHECK_TYPE(
      is_vector(a) && is_vector(b), "expected two one-dimensional float64 arrays, got ",
      describe(a), " and ", describe(b), ".");
  const auto size = py::reinterpret_borrow<py::array>(a).size();
  if (size != py::reinterpret_borrow<py::array>(b).size()) {
    return false;
  }
  const FlatInput left(a, size);
  const FlatInput right(b, size);
  return same_values(left.data(), right.data(), size);
}

double distance(py::handle a, py::handle b) {
  TORCH_CHECK_TYPE(py::isinstance<py::array>(a), "expected a float64 vector.");
  const auto size = py::reinterpret_borrow<py::array>(a).size();
  return distance(FlatInput(a, size).data(), FlatInput(b, size).data(), size);
}

std::pair<bool, double> compare_and_measure(py::handle x, py::handle known, py::handle before) {
  TORCH_CHECK_TYPE(py::isinstance<py::array>(x), "expected a float64 vector.");
  const auto size = py::reinterpret_borrow<py::array>(x).size();
  return compare_and_measure(
      FlatInput(x, size).data(), FlatInput(known, size).data(), FlatInput(before, size).data(),
      size);
}

double largest(py::handle v) {
  TORCH_CHECK_TYPE(py::isinstance<py::array>(v), "expected a float64 vector.");
  const auto size = py::reinterpret_borrow<py::array>(v).size();
  return largest(FlatInput(v, size).data(), size);
}

py::array combined(
    const std::vector<double>& coefficients, const std::vector<py::object>& vectors) {
  TORCH_CHECK_VALUE(
      !vectors.empty() && coefficients.size() == vectors.size(),
      "expected a coefficient for each of at least one vector, got ", coefficients.size(), " for ",
      vectors.size(), ".");
  TORCH_CHECK_TYPE(py::isinstance<py::array>(vectors[0]), "expected a float64 vector.");
  const auto size = py::reinterpret_borrow<py::array>(vectors[0]).size();
  std::vector<FlatInput> inputs;
  std::vector<const double*> data;
  for (const py::object& vector : vectors) {
    data.push_back(inputs.emplace_back(vector, size).data());
  }
  py::array_t<double> out(size);
  combined(coefficients, data, size, out.mutable_data());
  return out;
}

py::array symmetric_product(const Matrix& h, py::handle v) {
  const int64_t n = check_square(h);
  const FlatInput input(v, n);
  py::array_t<double> out(n);
  double* const to = out.mutable_data();
  const py::gil_scoped_release no_gil;
  symmetric_product(h.data(), n, input.data(), to);
  return out;
}

py::array rank_two_product(
    Matrix& h, double tau, double ss, double sw, double ww, py::handle s, py::handle w,
    py::handle v) {
  const int64_t n = check_square(h);
  const FlatInput along(s, n), other(w, n), input(v, n);
  double* const matrix = h.mutable_data();
  py::array_t<double> out(n);
  double* const to = out.mutable_data();
  const RankTwo change{
      .tau = tau, .ss = ss, .sw = sw, .ww = ww, .s = along.data(), .w = other.data()};
  const py::gil_scoped_release no_gil;
  rank_two_product(matrix, n, change, input.data(), to);
  return out;
}

std::tuple<py::array, double, double, double, double> curvature(
    py::handle product, py::handle p, py::handle g, py::handle before) {
  TORCH_CHECK_TYPE(py::isinstance<py::array>(g), "expected a float64 vector.");
  const auto size = py::reinterpret_borrow<py::array>(g).size();
  py::array_t<double> w(size);
  const Curvature sums = curvature(
      FlatInput(product, size).data(), FlatInput(p, size).data(), FlatInput(g, size).data(),
      FlatInput(before, size).data(), size, w.mutable_data());
  return {w, sums.py, sums.yw, sums.yy, sums.gw};
}

py::array pair_sums(
    const py::array& w, int64_t used, py::handle gradient, py::handle before,
    py::handle direction) {
  Pairs pairs = pairs_of(w, used);
  const FlatInput g(gradient, pairs.n), old(before, pairs.n), d(direction, pairs.n);
  pairs.gradient = g.data();
  pairs.before = old.data();
  py::array_t<double> out(2 * used + kPairScalars);
  double* const to = out.mutable_data();
  const py::gil_scoped_release no_gil;
  pair_sums(pairs, d.data(), to);
  return out;
}

double pair_turn(
    py::array& w, double gamma, py::handle weights, int64_t slot, double step, py::handle gradient,
    py::handle before, py::array_t<double>& direction) {
  TORCH_CHECK_TYPE(is_vector(weights), "expected weights as a float64 vector.");
  const auto used = py::reinterpret_borrow<py::array>(weights).size();
  Pairs pairs = pairs_of(w, used);
  TORCH_CHECK_VALUE(
      used % 2 == 0 && 2 * slot < used, "expected a slot below ", used / 2, ", got ", slot, ".");
  const FlatInput c(weights, used), g(gradient, pairs.n), old(before, pairs.n);
  TORCH_CHECK_VALUE(
      direction.ndim() == 1 && direction.shape(0) == pairs.n &&
          (direction.flags() & py::array::c_style),
      "expected a contiguous direction of shape (", pairs.n, ",), got ", describe(direction), ".");
  w.mutable_data();  // refuses an array that is locked
  pairs.gradient = g.data();
  pairs.before = old.data();
  double* const to = direction.mutable_data();
  const PairChange change{.gamma = gamma, .weights = c.data(), .slot = slot, .step = step};
  const py::gil_scoped_release no_gil;
  return pair_turn(pairs, change, to);
}

std::tuple<double, py::array, double> pair_weights(
    const Matrix& sy, const Matrix& yy, const std::optional<py::array_t<double>>& tau,
    const std::vector<int64_t>& order, double gamma, const std::vector<double>& products) {
  const int64_t m = check_square(sy);
  TORCH_CHECK_VALUE(
      check_square(yy) == m && (!tau || (tau->ndim() == 1 && tau->shape(0) == m)),
      "expected inner products of ", m, " slots, got ", describe(yy), ".");
  const auto used = static_cast<int64_t>(order.size());
  for (const int64_t slot : order) {
    TORCH_CHECK_VALUE(
        0 <= slot && slot < used && used <= m, "expected the first of ", m,
        " slots in some order, got slot ", slot, " among ", used, ".");
  }
  TORCH_CHECK_VALUE(
      static_cast<int64_t>(products.size()) == 2 * used, "expected ", 2 * used, " products, got ",
      products.size(), ".");
  const PairProducts known{sy.data(), yy.data(), tau ? tau->data() : nullptr, m, order, gamma};
  py::array_t<double> rows(2 * used);
  const PairWeights found = pair_weights(known, products.data(), rows.mutable_data());
  return {found.gamma, rows, found.along};
}

}  // namespace minimize
