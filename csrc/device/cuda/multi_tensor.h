#pragma once

// One launch between any number of tensors and one flat float64 vector. CUDA's own
// headers only, and plain data: nvcc alone compiles what is behind it.

#include "device/table.h"

#include <cuda_runtime_api.h>

namespace minimize::device {

/// Tensors -> flat and tail, whose mark becomes `number` where the vector is not finite.
cudaError_t launch_gather(
    const Table& table, double* flat, Tail* tail, double number, cudaStream_t stream);

/// flat -> tensors.
cudaError_t launch_scatter(const Table& table, const double* flat, cudaStream_t stream);

}  // namespace minimize::device
