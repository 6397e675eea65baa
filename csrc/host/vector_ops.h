#pragma once

#include <pybind11/numpy.h>

namespace minimize {

/// The Euclidean distance of two float64 vectors of the same length. The same bits
/// whatever the number of threads.
double distance(pybind11::handle a, pybind11::handle b);

/// max |v_i| of a float64 vector without NaN; 0 if it is empty.
double largest(pybind11::handle v);

}  // namespace minimize
