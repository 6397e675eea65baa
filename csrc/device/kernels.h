#pragma once

#include "device/pairs.h"
#include "device/rank_two.h"
#include "device/table.h"

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>
#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <cstddef>

namespace minimize {

/// What a kind of device does for its tensors to cross in one transfer, and for what
/// solvers of ours know of the inverse Hessian. Another kind is another of these, and a line in
/// find_device_kernels().
struct DeviceKernels {
  /// Queue one launch on a stream of the current device: tensors -> flat and tail, whose
  /// mark becomes `number` where the vector is not finite; and flat -> tensors.
  void (*gather)(
      const device::Table& table, double* flat, device::Tail* tail, double number,
      const c10::Stream& stream);
  void (*scatter)(const device::Table& table, const double* flat, const c10::Stream& stream);

  /// Queue one launch: out = H v; and H updated, with out = H v of what this makes.
  void (*product)(const device::RowTask& task, const c10::Stream& stream);
  void (*rank_two_product)(const device::RowTask& task, const c10::Stream& stream);

  /// Queue what sums the pairs of limited memory with a gradient; and what makes a direction.
  void (*pair_sums)(const device::PairTask& task, const c10::Stream& stream);
  void (*pair_turn)(const device::PairTask& task, const c10::Stream& stream);

  /// Queue a copy between host_memory() and memory of the device.
  void (*copy_up)(void* device, const void* host, size_t bytes, const c10::Stream& stream);
  void (*copy_down)(void* host, const void* device, size_t bytes, const c10::Stream& stream);
  /// Until all that is queued there is done; reports its errors.
  void (*wait)(const c10::Stream& stream);

  /// Host memory that the device reads and writes directly. Once freed it is reused at once; after
  /// hold() of its address, not before what is on that stream as it is freed is done.
  c10::DataPtr (*host_memory)(size_t bytes);
  void (*hold)(void* host, const c10::Stream& stream);

  /// Whether queued work runs later, in the order of its stream.
  bool is_asynchronous;
};

/// The kernels for this kind of device; null if there are none in this build.
const DeviceKernels* find_device_kernels(c10::DeviceType type);

/// Refuses the i-th parameter where its device could have kernels, but this build has none.
void check_is_built_for(size_t i, const at::Tensor& param);

/// Of a capsule with kernels of another extension's, which was built beside this one.
constexpr auto kKernelsCapsule = "pytorch_minimize.DeviceKernels";

}  // namespace minimize
