#pragma once

#include "device/lane.h"

#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace minimize {

/// One device's share of one crossing. Collects pieces first, as FlatPass does; then
/// either gathers them, in the two halves that let several devices work at a time, or
/// scatters them. The vector is on the host, or on the device itself.
class DeviceShare {
 public:
  explicit DeviceShare(DeviceLane& lane) : lane_(&lane) {}

  const DeviceLane& lane() const {
    return *lane_;
  }
  int64_t reals() const {
    return pieces_.reals();
  }
  /// Appends a strided tensor on the device, which the share keeps; its memory is at
  /// `storage` and of the tensor's own offset.
  void add(const at::Tensor& tensor, const void* storage);
  void add_zeros(int64_t reals) {
    pieces_.add_zeros(reals);
  }
  /// Sends a scalar along with the gather, if it is one that can be; after the last add().
  bool carry(const at::Tensor& scalar);

  /// Memory of the host for the lane's reals and their tail.
  double* staging();

  /// Queues the gather into host memory of the lane's kernels: staging() or other.
  void queue_gather(double* host);
  /// Queues the gather into memory of the device; wait() only if that was announced.
  void queue_gather_into(double* flat, bool is_awaited);
  /// Until the gather is done; adds the seconds waited for what was queued before it.
  /// True if every value, but for what was carried, is finite.
  bool wait(double& waited);
  double carried() const;

  /// Queues the scatter of staging(), or of memory of the device.
  void queue_scatter();
  void queue_scatter_from(const double* flat);

 private:
  DeviceLane* lane_;
  PieceList pieces_;
  std::vector<at::Tensor> held_;
  c10::DataPtr staging_;
  const device::Tail* tail_ = nullptr;  // on the host, once wait() returns
  std::optional<DeviceLane::Ticket> ticket_;
};

}  // namespace minimize
