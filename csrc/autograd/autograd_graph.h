#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace minimize {

/// Bytes of the gradients that flow through the graph below the tensors, all of
/// them together: an upper estimate of what one backward pass allocates.
int64_t gradient_bytes(at::TensorList roots);

/// Frees what the graph below the tensors saved for backward, as a backward pass
/// without retain_graph does.
void release_graph(at::TensorList roots);

}  // namespace minimize
