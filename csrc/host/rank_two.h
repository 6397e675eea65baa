#pragma once

#include <cstdint>

namespace minimize {

/// What a quasi-Newton update makes of a symmetric H: H / tau + [s w] M [s w]', M having the
/// rows (ss, sw) and (sw, ww).
struct RankTwo {
  double tau;
  double ss;
  double sw;
  double ww;
  const double* s;
  const double* w;
};

/// out = H v, of which n rows of n are stored and those on and below the diagonal are read. The
/// same bits whatever the number of threads.
void symmetric_product(const double* h, int64_t n, const double* v, double* out);

/// Updates H on and below the diagonal, and out = H v with the H that this makes, in one pass.
void rank_two_product(double* h, int64_t n, const RankTwo& change, const double* v, double* out);

/// What an update is made of besides the step, y being g - before and w = H y: p'y, y'w, y'y, g'w.
struct Curvature {
  double py;
  double yw;
  double yy;
  double gw;
};

/// Those, and w = product + p, where product = H g and p = -H before, in one pass.
Curvature curvature(
    const double* product, const double* p, const double* g, const double* before, int64_t n,
    double* w);

}  // namespace minimize
