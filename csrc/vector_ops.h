#pragma once

#include <pybind11/numpy.h>

namespace minimize {

/// previous := x; returns the Euclidean length of that move. Both are float64
/// vectors of the same length. The same bits whatever the number of threads.
double move(pybind11::handle previous, pybind11::handle x);

/// max |v_i| of a float64 vector without NaN; 0 if it is empty.
double largest(pybind11::handle v);

}  // namespace minimize
