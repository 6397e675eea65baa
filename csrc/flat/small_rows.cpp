#include "flat/small_rows.h"

#include <cmath>

namespace minimize {
namespace {

template <class T>
bool gather(const T* stack, int64_t reals, const Columns& columns, double* matrix) {
  bool finite = true;
  for (int64_t row = 0; row < columns.rows; ++row) {
    double* const to = matrix + row * columns.stride + columns.begin;
    for (int64_t i = 0; i < reals; ++i) {
      to[i] = static_cast<double>(stack[row * reals + i]);
      finite = finite && std::isfinite(to[i]);
    }
  }
  return finite;
}

template <class T>
void scatter(const double* matrix, const Columns& columns, int64_t reals, T* stack) {
  for (int64_t row = 0; row < columns.rows; ++row) {
    const double* const from = matrix + row * columns.stride + columns.begin;
    for (int64_t i = 0; i < reals; ++i) {
      stack[row * reals + i] = static_cast<T>(from[i]);
    }
  }
}

bool is_of(const Spec& spec, c10::ScalarType real, c10::ScalarType complex) {
  const auto dtype = c10::typeMetaToScalarType(spec.dtype);
  return dtype == real || dtype == complex;
}

bool is_double(const Spec& spec) {
  return is_of(spec, c10::ScalarType::Double, c10::ScalarType::ComplexDouble);
}

bool is_single(const Spec& spec) {
  return is_of(spec, c10::ScalarType::Float, c10::ScalarType::ComplexFloat);
}

}  // namespace

bool copy_stack_to(
    const at::Tensor& stack, const Spec& spec, const Columns& columns, double* matrix,
    bool& finite) {
  if (!stack.defined() || !spec.is_met_by_rows(*stack.unsafeGetTensorImpl(), columns.rows)) {
    return false;
  }
  if (is_double(spec)) {
    finite &=
        gather(static_cast<const double*>(stack.const_data_ptr()), spec.reals, columns, matrix);
  } else if (is_single(spec)) {
    finite &=
        gather(static_cast<const float*>(stack.const_data_ptr()), spec.reals, columns, matrix);
  } else {
    return false;
  }
  return true;
}

bool copy_stack_from(
    const double* matrix, const Columns& columns, const Spec& spec, const at::Tensor& stack) {
  if (!spec.is_met_by_rows(*stack.unsafeGetTensorImpl(), columns.rows)) {
    return false;
  }
  if (is_double(spec)) {
    scatter(matrix, columns, spec.reals, static_cast<double*>(stack.mutable_data_ptr()));
  } else if (is_single(spec)) {
    scatter(matrix, columns, spec.reals, static_cast<float*>(stack.mutable_data_ptr()));
  } else {
    return false;
  }
  return true;
}

}  // namespace minimize
