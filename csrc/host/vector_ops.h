#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace minimize {

/// Whether two vectors of n have the same bits.
bool same_values(const double* a, const double* b, int64_t n);

/// The Euclidean distance of two vectors of n. The same bits whatever the number of
/// threads.
double distance(const double* a, const double* b, int64_t n);

/// Whether x has the bits of `known`, and its Euclidean distance from `before`, in one pass over
/// all three.
std::pair<bool, double> compare_and_measure(
    const double* x, const double* known, const double* before, int64_t n);

/// max |v_i| of n values without NaN; 0 if there are none.
double largest(const double* v, int64_t n);

/// out = the sum of c_i v_i, which are added in their order, in one pass.
void combined(
    const std::vector<double>& c, const std::vector<const double*>& v, int64_t n, double* out);

}  // namespace minimize
