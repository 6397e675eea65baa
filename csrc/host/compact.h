#pragma once

#include <cstdint>
#include <vector>

namespace minimize {

/// Inner products of the pairs of limited memory, by slots; those that there are, from the oldest
/// to the newest, are in `order`.
struct PairProducts {
  const double* sy;   // of shape (m, m): s_i'y_j, of which i no younger than j is read
  const double* yy;   // of shape (m, m): y_i'y_j
  const double* tau;  // one a slot: what was known before is divided by it; null: by 1
  int64_t m;
  const std::vector<int64_t>& order;
  double gamma;  // s'y / y'y of the newest pair
};

/// H g = gamma g + W'rows, W's rows being s_0, y_0, s_1, y_1 ...
struct PairWeights {
  double gamma;
  double along;  // g'(W'rows); NaN where not all of it is finite
};

/// Byrd, Nocedal and Schnabel's (1994) compact form of the inverse.
///
/// products: W g, two for each slot of `order`. rows: as many, written.
PairWeights pair_weights(const PairProducts& known, const double* products, double* rows);

}  // namespace minimize
