#pragma once

// Launches over the pairs of limited memory.

#include "device/pairs.h"

#include <cuda_runtime_api.h>

namespace minimize::device {

/// Two launches: the parts of each chunk, and out, their sums.
cudaError_t launch_pair_sums(const PairTask& task, cudaStream_t stream);

/// One launch: the pair and the direction.
cudaError_t launch_pair_turn(const PairTask& task, cudaStream_t stream);

}  // namespace minimize::device
