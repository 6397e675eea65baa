#pragma once

#include "tensor/checks.h"

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace minimize {

/// Where the reals of a parameter are in each row of a matrix on the host.
struct Columns {
  int64_t begin;
  int64_t stride;  // from row to row
  int64_t rows;
};

/// Copies a stack of a parameter's values into its columns, and clears `finite` where not all are;
/// false, and nothing is done, where the stack is not plain memory of float32 or float64 on the
/// host. For few reals: of these, to look at each row as a tensor would be most of the time.
bool copy_stack_to(
    const at::Tensor& stack, const Spec& spec, const Columns& columns, double* matrix,
    bool& finite);

/// Copies a parameter's columns into a new stack; false where copy_stack_to would say so.
bool copy_stack_from(
    const double* matrix, const Columns& columns, const Spec& spec, const at::Tensor& stack);

}  // namespace minimize
