#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <utility>

namespace minimize {

/// Two indices of strided tensors that share an element's memory, the same index
/// twice for a tensor that overlaps itself; nothing if all memory is distinct.
/// Exact: interleaved views such as flat[::2] and flat[1::2] do not overlap.
std::optional<std::pair<size_t, size_t>> find_overlap(at::TensorList tensors);

}  // namespace minimize
