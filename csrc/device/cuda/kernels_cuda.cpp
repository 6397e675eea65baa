// The CUDA kernels as torch's streams and allocators know them. Compiled only into a
// build with CUDA.

#include "device/cuda/multi_tensor.h"
#include "device/cuda/pairs.h"
#include "device/cuda/rank_two.h"
#include "device/kernels.h"

#include <ATen/core/CachingHostAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

#include <cuda_runtime_api.h>

#include <exception>
#include <memory>

namespace minimize {
namespace {

void gather(
    const device::Table& table, double* flat, device::Tail* tail, double number,
    const c10::Stream& stream) {
  const c10::cuda::CUDAStream queue(stream);
  C10_CUDA_CHECK(device::launch_gather(table, flat, tail, number, queue.stream()));
}

void scatter(const device::Table& table, const double* flat, const c10::Stream& stream) {
  const c10::cuda::CUDAStream queue(stream);
  C10_CUDA_CHECK(device::launch_scatter(table, flat, queue.stream()));
}

void product(const device::RowTask& task, const c10::Stream& stream) {
  const c10::cuda::CUDAStream queue(stream);
  C10_CUDA_CHECK(device::launch_product(task, queue.stream()));
}

void rank_two_product(const device::RowTask& task, const c10::Stream& stream) {
  const c10::cuda::CUDAStream queue(stream);
  C10_CUDA_CHECK(device::launch_rank_two_product(task, queue.stream()));
}

void pair_sums(const device::PairTask& task, const c10::Stream& stream) {
  const c10::cuda::CUDAStream queue(stream);
  C10_CUDA_CHECK(device::launch_pair_sums(task, queue.stream()));
}

void pair_turn(const device::PairTask& task, const c10::Stream& stream) {
  const c10::cuda::CUDAStream queue(stream);
  C10_CUDA_CHECK(device::launch_pair_turn(task, queue.stream()));
}

/// A block of the caching host allocator, and how it is given back.
struct Pinned {
  void* context;
  c10::DeleterFnPtr free;
};

/// The allocator records an event as a block comes back, which fails once the device is
/// lost. An error out of a destructor would end the process in place of the one that is
/// being reported; so the block is left.
void free_pinned(void* raw) {
  const std::unique_ptr<Pinned> pinned(static_cast<Pinned*>(raw));
  try {
    pinned->free(pinned->context);
  } catch (const std::exception&) {
  }
}

/// The address is the block's own, by which the allocator finds it in hold().
c10::DataPtr pinned_memory(size_t bytes) {
  auto block = at::getHostAllocator(c10::DeviceType::CUDA)->allocate(bytes);
  auto pinned = std::make_unique<Pinned>(Pinned{block.get_context(), block.get_deleter()});
  void* const memory = block.get();
  block.release_context();
  return {memory, pinned.release(), &free_pinned, c10::kCPU};
}

void copy_up(void* device, const void* host, size_t bytes, const c10::Stream& stream) {
  const c10::cuda::CUDAStream queue(stream);
  C10_CUDA_CHECK(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, queue.stream()));
}

void copy_down(void* host, const void* device, size_t bytes, const c10::Stream& stream) {
  const c10::cuda::CUDAStream queue(stream);
  C10_CUDA_CHECK(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, queue.stream()));
}

void wait(const c10::Stream& stream) {
  c10::cuda::CUDAStream(stream).synchronize();
}

/// The allocator finds a block by its first address, and records an event there as it is freed.
void hold(void* host, const c10::Stream& stream) {
  at::getHostAllocator(c10::DeviceType::CUDA)->record_event(host, nullptr, stream);
}

}  // namespace

extern const DeviceKernels kCudaKernels;

const DeviceKernels kCudaKernels = {
    .gather = gather,
    .scatter = scatter,
    .product = product,
    .rank_two_product = rank_two_product,
    .pair_sums = pair_sums,
    .pair_turn = pair_turn,
    .copy_up = copy_up,
    .copy_down = copy_down,
    .wait = wait,
    .host_memory = pinned_memory,
    .hold = hold,
    .is_asynchronous = true,
};

}  // namespace minimize
