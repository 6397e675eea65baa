#pragma once

// One launch between any number of tensors and one flat float64 vector. CUDA's own
// headers only, and plain data: nvcc alone compiles what is behind it.

#include "device/table.h"

#include <cuda_runtime_api.h>

namespace minimize::device {

/// Tensors -> flat. Where a value that must be finite is not, *mark = stamp.
cudaError_t launch_gather(
    const Table& table, double* flat, double* mark, double stamp, cudaStream_t stream);

/// flat -> tensors.
cudaError_t launch_scatter(const Table& table, const double* flat, cudaStream_t stream);

}  // namespace minimize::device
