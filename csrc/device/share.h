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
  /// Of at most `count` pieces. Tables that come again are kept.
  DeviceShare(DeviceLane& lane, size_t count, bool comes_again)
      : lane_(&lane), comes_again_(comes_again) {
    pieces_.reserve(count + 1);  // with what is carried
    held_.reserve(count + 1);
  }

  const DeviceLane& lane() const {
    return *lane_;
  }
  /// But for what is carried.
  int64_t reals() const {
    return pieces_.reals() - (is_carrying_ ? 1 : 0);
  }
  /// Appends a strided tensor on the device, which the share keeps; its memory is at
  /// `storage` and of the tensor's own offset.
  void add(const at::Tensor& tensor, const void* storage);
  void add_zeros(int64_t reals) {
    pieces_.add_zeros(reals);
  }
  /// Sends a scalar along with the gather, if it is one that can be; after the last add().
  bool carry(const at::Tensor& scalar);

  /// Memory of the host for the reals and their tail.
  double* staging();

  /// Queues the gather into host memory of the lane's kernels, of bytes_with_tail(): staging() or
  /// other.
  void queue_gather(double* host);
  /// Queues the gather into memory of the device; wait() only if that was announced.
  void queue_gather_into(double* flat, bool is_awaited);
  /// Until the gather is done; adds the seconds waited for what was queued before it.
  /// True if every value, but for what was carried, is finite.
  bool wait(double& waited);
  double carried() const;
  /// Nobody will wait: what was queued may still write to host memory that is freed now.
  void abandon();

  /// Queues the scatter of staging(), which write(begin, end) fills part by part, or of memory of
  /// the device.
  void queue_scatter(const DeviceLane::Write& write);
  void queue_scatter_from(const double* flat);

 private:
  DeviceLane::Load load() const {
    return {pieces_, reals(), comes_again_};
  }

  DeviceLane* lane_;
  bool comes_again_;
  bool is_carrying_ = false;
  PieceList pieces_;
  std::vector<at::Tensor> held_;
  c10::DataPtr staging_;
  c10::DataPtr tail_memory_;      // where it is not behind the vector
  double* host_ = nullptr;        // where the gather goes
  device::Tail* tail_ = nullptr;  // on the host, once wait() returns
  std::optional<DeviceLane::Ticket> ticket_;
};

}  // namespace minimize
