#pragma once

#include <ATen/core/Tensor.h>

namespace minimize {

/// Whether it is plain that strided tensors share no memory, and none lies over itself: each
/// dimension steps over the smaller ones, and no extent reaches into another. Interleaved views,
/// such as flat[::2] and flat[1::2], are not told apart.
bool are_apart(at::TensorList tensors);

}  // namespace minimize
