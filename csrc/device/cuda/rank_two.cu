#include "device/cuda/rank_two.h"

#include <climits>

namespace minimize::device {
namespace {

template <bool kUpdate>
__global__ void __launch_bounds__(kRowThreads) rank_two_kernel(RowTask task) {
  __shared__ double sums[kRows * kRowThreads];
  const auto thread = static_cast<int32_t>(threadIdx.x);
  pass_over_rows<kUpdate>(task, blockIdx.x, thread, sums);
  for (int32_t half = kRowThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    fold(sums, half, thread);
  }
  store_sums(task, blockIdx.x, thread, sums);
}

template <bool kUpdate>
cudaError_t launch(const RowTask& task, cudaStream_t stream) {
  const int64_t blocks = blocks_of(task);
  if (blocks == 0) {
    return cudaSuccess;
  }
  if (blocks > INT_MAX) {
    return cudaErrorInvalidConfiguration;
  }
  rank_two_kernel<kUpdate><<<static_cast<unsigned>(blocks), kRowThreads, 0, stream>>>(task);
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch_product(const RowTask& task, cudaStream_t stream) {
  return launch<false>(task, stream);
}

cudaError_t launch_rank_two_product(const RowTask& task, cudaStream_t stream) {
  return launch<true>(task, stream);
}

}  // namespace minimize::device
