#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/SmallVector.h>

#include <cstddef>
#include <cstdint>

namespace minimize {

/// What a parameter was when its bridge was made.
struct Spec {
  explicit Spec(const at::Tensor& param);

  /// Whether a tensor is of this shape, dtype and device, and its elements are where
  /// its data pointer and strides say: the quick check that nearly all tensors pass.
  bool is_met_by(const c10::TensorImpl& tensor) const;
  /// Whether it is a stack of so many such tensors on the host, one after the other in memory.
  bool is_met_by_rows(const c10::TensorImpl& stack, int64_t rows) const;

  c10::SmallVector<int64_t, 4> sizes;
  c10::Device device;
  caffe2::TypeMeta dtype;
  int64_t reals;
};

/// Whether the tensor is one real number in plain memory, of a parameter's dtype.
bool is_readable_scalar(const c10::TensorImpl& tensor);

/// Whether it is plain that these are distinct variables. Where it is not, the parameters have to
/// be looked at closely, which is done, and worded, in Python alone.
bool are_plain(at::TensorList params);

/// Refuses the i-th parameter if it is no longer what it was.
void check_unchanged(size_t i, const at::Tensor& param, const Spec& spec);

/// Refuses x unless it is a plain float64 vector of that length and device.
void check_is_vector(const at::Tensor& x, int64_t numel, c10::Device device);

/// Refuses a tensor (`what` it is) that does not fit the i-th parameter.
void check_fits(const char* what, size_t i, const at::Tensor& tensor, const Spec& spec);

}  // namespace minimize
