#pragma once

#include <cstdint>

namespace minimize {

/// The pairs of limited memory, rows s_0, y_0, s_1, y_1 ... of one matrix, and the vectors that a
/// pass over them reads. `single`: the rows are of float32; everything else is of float64.
struct Pairs {
  void* rows;  // of n elements, one after the other
  bool single;
  int64_t n;
  int64_t used;  // rows, from the first on
  const double* gradient;
  const double* before;  // the gradient of the point before; y = gradient - before
};

/// How a direction is made of them: d = -(gamma g + W'c).
struct PairChange {
  double gamma;
  const double* weights;  // c, one for each row that is used
  int64_t slot;           // where s = step d and y are written first; negative: nowhere
  double step;
};

/// Sums besides those of rows: g'd, g'g, y'y, y'g and max |g|.
constexpr int64_t kPairScalars = 5;

/// out = [W g, W y, those five], in one pass over W. The same bits whatever the number of threads.
void pair_sums(const Pairs& pairs, const double* direction, double* out);

/// Writes the pair, and the direction where the last one was, in one pass; returns g'd of it.
double pair_turn(const Pairs& pairs, const PairChange& change, double* direction);

}  // namespace minimize
