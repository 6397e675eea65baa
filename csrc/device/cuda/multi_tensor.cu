#include "device/cuda/multi_tensor.h"

#include "device/chunk.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <climits>

namespace minimize::device {
namespace {

constexpr int kThreads = 256;

/// The conversions of Tensor::copy_: float64 to a half and back goes through float32.
struct CudaTypes {
  using Half = __half;
  using BFloat16 = __nv_bfloat16;

  static MINIMIZE_HD double to_double(double value) {
    return value;
  }
  static MINIMIZE_HD double to_double(float value) {
    return static_cast<double>(value);
  }
  static MINIMIZE_HD double to_double(__half value) {
    return static_cast<double>(__half2float(value));
  }
  static MINIMIZE_HD double to_double(__nv_bfloat16 value) {
    return static_cast<double>(__bfloat162float(value));
  }

  template <class T>
  static MINIMIZE_HD T from_double(double value) {
    if constexpr (sizeof(T) == sizeof(double)) {
      return value;
    } else {
      return narrow(static_cast<float>(value), T());
    }
  }

 private:
  static MINIMIZE_HD float narrow(float value, float) {
    return value;
  }
  static MINIMIZE_HD __half narrow(float value, __half) {
    return __float2half_rn(value);
  }
  static MINIMIZE_HD __nv_bfloat16 narrow(float value, __nv_bfloat16) {
    return __float2bfloat16_rn(value);
  }
};

__device__ Lane this_lane() {
  return {static_cast<int32_t>(threadIdx.x), kThreads};
}

__global__ void __launch_bounds__(kThreads)
    gather_kernel(Table table, double* flat, Tail* tail, double number) {
  if (!gather_chunk<CudaTypes>(table, blockIdx.x, flat, tail, this_lane())) {
    tail->mark = number;  // the same from whichever threads
  }
}

__global__ void __launch_bounds__(kThreads) scatter_kernel(Table table, const double* flat) {
  scatter_chunk<CudaTypes>(table, blockIdx.x, flat, this_lane());
}

/// A grid has 2^31 - 1 blocks at most, which is 8e12 reals.
cudaError_t check_grid(const Table& table) {
  return table.chunk_count <= INT_MAX ? cudaSuccess : cudaErrorInvalidConfiguration;
}

}  // namespace

cudaError_t launch_gather(
    const Table& table, double* flat, Tail* tail, double number, cudaStream_t stream) {
  if (const cudaError_t error = check_grid(table); error != cudaSuccess || table.chunk_count == 0) {
    return error;
  }
  const auto blocks = static_cast<unsigned>(table.chunk_count);
  gather_kernel<<<blocks, kThreads, 0, stream>>>(table, flat, tail, number);
  return cudaGetLastError();
}

cudaError_t launch_scatter(const Table& table, const double* flat, cudaStream_t stream) {
  if (const cudaError_t error = check_grid(table); error != cudaSuccess || table.chunk_count == 0) {
    return error;
  }
  const auto blocks = static_cast<unsigned>(table.chunk_count);
  scatter_kernel<<<blocks, kThreads, 0, stream>>>(table, flat);
  return cudaGetLastError();
}

}  // namespace minimize::device
