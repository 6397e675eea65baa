#pragma once

#include "checks.h"
#include "flat_pass.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace minimize {

/// Parameters as one flat float64 vector: their distinct tensors in the order
/// given, each in row-major order, a complex element as two reals.
///
/// Every method checks all of its tensors before it reads or writes the first.
class ParameterBridge {
 public:
  /// Throws TypeError or ValueError for parameters that cannot be variables.
  explicit ParameterBridge(const std::vector<at::Tensor>& params);

  /// Reals in the flat vector.
  int64_t numel() const {
    return numel_;
  }
  const std::vector<at::Tensor>& params() const {
    return params_;
  }

  /// The crossings, checked and ready to be copied: gather the first three,
  /// scatter the other two. An undefined tensor, or gradient, counts as zeros.
  FlatPass reading_params() const;
  FlatPass reading_grads() const;
  FlatPass reading(at::TensorList tensors) const;
  FlatPass writing_params() const;
  FlatPass writing_grads() const;

  /// Tensors of the parameters' shapes into out[0, numel); true if all is finite.
  bool pack(at::TensorList tensors, double* out) const {
    return reading(tensors).gather(out);
  }
  /// New contiguous tensors of the parameters' shapes, dtypes and devices.
  std::vector<at::Tensor> unpack(const double* x) const;

  bool has_grads() const;
  void clear_grads() const;

 private:
  void read_fitting(const char* what, size_t i, const at::Tensor& tensor, FlatPass& pass) const;

  std::vector<at::Tensor> params_;  // distinct
  std::vector<Spec> specs_;         // of params_
  int64_t numel_ = 0;
};

}  // namespace minimize
