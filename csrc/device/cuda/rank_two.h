#pragma once

// One launch over H, a quasi-Newton method's approximation of the inverse Hessian.

#include "device/rank_two.h"

#include <cuda_runtime_api.h>

namespace minimize::device {

/// out = H v.
cudaError_t launch_product(const RowTask& task, cudaStream_t stream);

/// Updates H; out = H v with the H that this makes.
cudaError_t launch_rank_two_product(const RowTask& task, cudaStream_t stream);

}  // namespace minimize::device
