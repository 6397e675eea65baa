#include "device/cuda/pairs.h"

#include <climits>

namespace minimize::device {
namespace {

__global__ void __launch_bounds__(kPairThreads) parts_kernel(PairTask task) {
  __shared__ double sums[kPairSums * kPairThreads];
  const auto thread = static_cast<int32_t>(threadIdx.x);
  // Blocks of one chunk follow each other, so that what they share of it is in the cache.
  const int64_t groups = groups_of(task);
  const int64_t chunk = blockIdx.x / groups;
  const int64_t group = blockIdx.x % groups;
  pass_over_pairs(task, chunk, group, thread, sums);
  for (int32_t half = kPairThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    fold_pairs(sums, group + 1 == groups, half, thread);
  }
  __syncthreads();
  store_pairs(task, chunk, group, thread, sums);
}

__global__ void __launch_bounds__(kPairThreads) sums_kernel(PairTask task) {
  __shared__ double sums[kPairThreads];
  const auto thread = static_cast<int32_t>(threadIdx.x);
  gather_parts(task, blockIdx.x, thread, sums);
  for (int32_t half = kPairThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    fold_parts(task, blockIdx.x, sums, half, thread);
  }
  if (thread == 0) {
    task.out[blockIdx.x] = sums[0];
  }
}

__global__ void __launch_bounds__(kPairThreads) turn_kernel(PairTask task) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kPairThreads + threadIdx.x;
  if (column < task.pairs.n) {
    turn_column(task, column);
  }
}

}  // namespace

cudaError_t launch_pair_sums(const PairTask& task, cudaStream_t stream) {
  const int64_t blocks = chunks_of(task) * groups_of(task);
  if (blocks > INT_MAX) {
    return cudaErrorInvalidConfiguration;
  }
  if (blocks > 0) {
    parts_kernel<<<static_cast<unsigned>(blocks), kPairThreads, 0, stream>>>(task);
    if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) {
      return error;
    }
  }
  sums_kernel<<<static_cast<unsigned>(length_of(task)), kPairThreads, 0, stream>>>(task);
  return cudaGetLastError();
}

cudaError_t launch_pair_turn(const PairTask& task, cudaStream_t stream) {
  const int64_t blocks = (task.pairs.n + kPairThreads - 1) / kPairThreads;
  if (blocks == 0) {
    return cudaSuccess;
  }
  if (blocks > INT_MAX) {
    return cudaErrorInvalidConfiguration;
  }
  turn_kernel<<<static_cast<unsigned>(blocks), kPairThreads, 0, stream>>>(task);
  return cudaGetLastError();
}

}  // namespace minimize::device
