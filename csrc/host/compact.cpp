#include "host/compact.h"

#include <cmath>
#include <limits>

namespace minimize {
namespace {

/// The pairs by age, scaled: sqrt(c_i) s_i and y_i / sqrt(c_i).
struct Ordered {
  int64_t k;
  double gamma;
  std::vector<double> lengths;  // sqrt(c_i)
  std::vector<double> r;        // S'Y, on and above its diagonal
  std::vector<double> yy, sg, yg;
};

Ordered ordered(const PairProducts& known, const double* products) {
  const auto k = static_cast<int64_t>(known.order.size());
  Ordered o{
      k,
      known.gamma,
      std::vector<double>(k, 1.0),
      std::vector<double>(k * k),
      std::vector<double>(k * k),
      std::vector<double>(k),
      std::vector<double>(k)};
  if (known.tau != nullptr) {
    double after = 1.0;
    for (int64_t i = k - 1; i >= 0; --i) {
      o.lengths[i] = std::sqrt(after);
      after *= 1.0 / known.tau[known.order[i]];
    }
    o.gamma *= after;
  }
  for (int64_t i = 0; i < k; ++i) {
    const int64_t row = known.order[i];
    o.sg[i] = products[2 * row] * o.lengths[i];
    o.yg[i] = products[2 * row + 1] / o.lengths[i];
    for (int64_t j = 0; j < k; ++j) {
      const int64_t at = row * known.m + known.order[j];
      if (j >= i) {
        o.r[i * k + j] = known.sy[at] * (o.lengths[i] / o.lengths[j]);
      }
      o.yy[i * k + j] = known.yy[at] / (o.lengths[i] * o.lengths[j]);
    }
  }
  return o;
}

/// R^-1 b, in place.
void solve_upper(const std::vector<double>& r, int64_t k, std::vector<double>& b) {
  for (int64_t i = k - 1; i >= 0; --i) {
    for (int64_t j = i + 1; j < k; ++j) {
      b[i] -= r[i * k + j] * b[j];
    }
    b[i] /= r[i * k + i];
  }
}

/// R^-T b, in place.
void solve_transposed(const std::vector<double>& r, int64_t k, std::vector<double>& b) {
  for (int64_t i = 0; i < k; ++i) {
    b[i] /= r[i * k + i];
    for (int64_t j = i + 1; j < k; ++j) {
      b[j] -= r[i * k + j] * b[i];
    }
  }
}

}  // namespace

PairWeights pair_weights(const PairProducts& known, const double* products, double* rows) {
  const Ordered o = ordered(known, products);
  std::vector<double> u = o.sg;
  solve_upper(o.r, o.k, u);
  std::vector<double> c(o.k);  // of S
  for (int64_t i = 0; i < o.k; ++i) {
    double sum = -o.yg[i];
    for (int64_t j = 0; j < o.k; ++j) {
      sum += o.yy[i * o.k + j] * u[j];
    }
    c[i] = o.r[i * o.k + i] * u[i] + o.gamma * sum;
  }
  solve_transposed(o.r, o.k, c);
  double along = 0.0;
  bool finite = std::isfinite(o.gamma);
  for (int64_t i = 0; i < o.k; ++i) {
    const double of_y = -o.gamma * u[i];
    along += c[i] * o.sg[i] + of_y * o.yg[i];
    double* const to = rows + 2 * known.order[i];
    to[0] = c[i] * o.lengths[i];
    to[1] = of_y / o.lengths[i];
    finite = finite && std::isfinite(to[0]) && std::isfinite(to[1]);
  }
  return {
      o.gamma, finite && std::isfinite(along) ? along : std::numeric_limits<double>::quiet_NaN()};
}

}  // namespace minimize
