// The CUDA kernels as torch's streams and allocators know them. Compiled only into a
// build with CUDA.

#include "cuda/multi_tensor.h"
#include "device_kernels.h"

#include <ATen/core/CachingHostAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

namespace minimize {

extern const DeviceKernels kCudaKernels;

const DeviceKernels kCudaKernels = {
    .gather =
        [](const device::Table& table, double* flat, double* mark, double stamp,
           const c10::Stream& stream) {
          const c10::cuda::CUDAStream queue(stream);
          C10_CUDA_CHECK(device::launch_gather(table, flat, mark, stamp, queue.stream()));
        },
    .scatter =
        [](const device::Table& table, const double* flat, const c10::Stream& stream) {
          const c10::cuda::CUDAStream queue(stream);
          C10_CUDA_CHECK(device::launch_scatter(table, flat, queue.stream()));
        },
    .host_memory =
        [](size_t bytes) { return at::getHostAllocator(c10::DeviceType::CUDA)->allocate(bytes); },
    .is_asynchronous = true,
};

}  // namespace minimize
