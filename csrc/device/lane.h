#pragma once

#include "device/kernels.h"
#include "device/pieces.h"

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

namespace minimize {

/// What one device keeps for crossings: a flat vector of the tensors that are on it, where
/// vectors come from the host or go there, and the tables of the latest crossings, which
/// mostly come again.
///
/// The vector stays, and so does the first table, which is that of the parameters: a run
/// begins by reading them. So they can be loaded when the device has no memory left, as
/// after a closure that ran out of it. Past its reals it has a tail; where vectors stay on
/// the device a tail is all that the lane keeps.
///
/// All work goes to the device's current stream. Nothing waits but wait().
class DeviceLane {
 public:
  DeviceLane(c10::Device device, const DeviceKernels& kernels)
      : device_(device), kernels_(kernels) {}
  DeviceLane(const DeviceLane&) = delete;
  DeviceLane& operator=(const DeviceLane&) = delete;

  c10::Device device() const {
    return device_;
  }
  const DeviceKernels& kernels() const {
    return kernels_;
  }
  /// Room for that many more reals; before the first crossing.
  void grow(int64_t reals) {
    reals_ += reals;
  }
  int64_t reals() const {
    return reals_;
  }

  /// A gather on its way: its number, the stream to wait for, and where on it the gather
  /// begins and ends if it runs later.
  struct Ticket {
    double number;
    c10::Stream stream;
    std::optional<c10::Event> begin;
    std::optional<c10::Event> end;
  };

  /// Queues tensors -> vector -> host[0, reals + kTail), which is of host_memory().
  Ticket queue_gather(const PieceList& pieces, double* host);
  /// Queues tensors -> flat[0, reals), memory of the device, and the tail -> host[0, kTail);
  /// where that is null the tail stays, and there is nothing to wait for.
  Ticket queue_gather_into(const PieceList& pieces, double* flat, double* host);
  /// Queues host[0, reals) -> vector -> tensors.
  void queue_scatter(const PieceList& pieces, double* host);
  /// Queues flat[0, reals) -> tensors.
  void queue_scatter_from(const PieceList& pieces, const double* flat);
  /// Until the gather is done; reports the errors of all that was queued up to then.
  /// Returns the seconds that were waited for what was queued before it.
  double wait(const Ticket& ticket) const;

 private:
  struct Uploaded {
    PieceList pieces;
    at::Tensor memory;
    device::Table table;
  };

  class Turn;
  const at::Tensor& own(at::Tensor& memory, int64_t reals) const;
  Ticket queue(
      const Turn& turn, const PieceList& pieces, double* flat, const at::Tensor& sent,
      double* host);
  std::optional<c10::Event> mark(const c10::Stream& stream) const;
  const device::Table& table_of(const PieceList& pieces);
  Uploaded upload(const PieceList& pieces) const;

  const c10::Device device_;
  const DeviceKernels& kernels_;
  int64_t reals_ = 0;

  std::mutex mutex_;
  double gathers_ = 0.0;
  at::Tensor vector_;  // and its tail
  at::Tensor tail_;    // of vectors that are not the lane's own
  std::optional<Uploaded> first_;
  std::vector<Uploaded> tables_;  // the others, the latest first
  std::optional<c10::Stream> stream_;
  std::optional<c10::Event> done_;  // what was queued there
};

}  // namespace minimize
