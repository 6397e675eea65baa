#pragma once

#include "device/kernels.h"
#include "device/pieces.h"
#include "device/ways.h"

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <cstdint>
#include <functional>
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
/// the device a tail is all that the lane keeps. Several vectors at once are in memory of
/// their own, which is not kept.
///
/// All work goes to the device's current stream. Nothing waits but wait().
class DeviceLane {
 public:
  DeviceLane(c10::Device device, const DeviceKernels& kernels)
      : device_(device), kernels_(kernels), ways_(Ways::from_environment()) {}
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

  /// What crosses: pieces of so many reals, one that is carried aside. Where it does not come
  /// again its table is not kept.
  struct Load {
    const PieceList& pieces;
    int64_t reals;
    bool comes_again;
  };

  /// A gather on its way: its number, the stream to wait for, and where on it the gather
  /// begins and ends if it runs later.
  struct Ticket {
    double number;
    c10::Stream stream;
    std::optional<c10::Event> begin;
    std::optional<c10::Event> end;
  };

  /// Queues tensors -> vector -> host[0, reals), and its tail. Both are of host_memory(), and held
  /// by whoever frees them before wait() has returned.
  Ticket queue_gather(const Load& load, double* host, device::Tail* tail);
  /// Queues tensors -> flat[0, reals), memory of the device, and the tail -> host;
  /// where that is null the tail stays, and there is nothing to wait for.
  Ticket queue_gather_into(const Load& load, double* flat, device::Tail* tail);
  /// Queues host[0, reals) -> vector -> tensors, in slabs; write(begin, end) is called for
  /// each before it is sent. The memory is of host_memory(), and may be freed at once.
  using Write = std::function<void(int64_t begin, int64_t end)>;
  void queue_scatter(const Load& load, double* host, const Write& write);
  /// Queues flat[0, reals) -> tensors.
  void queue_scatter_from(const Load& load, const double* flat);
  /// Until the gather is done; reports the errors of all that was queued up to then.
  /// Returns the seconds that were waited for what was queued before it.
  double wait(Ticket&& ticket);

 private:
  /// A table, and what it lies in.
  struct Placed {
    at::Tensor memory;
    device::Table table;
  };
  struct Uploaded {
    PieceList pieces;
    Placed placed;
  };

  class Turn;
  const at::Tensor& own(at::Tensor& memory, int64_t reals) const;
  at::Tensor vector_for(int64_t reals);
  Ticket next_ticket(bool is_awaited);
  void end(Ticket& ticket);
  std::optional<c10::Event> mark();
  Placed table_for(const Load& load);
  const Placed& kept_table(const PieceList& pieces);
  Placed upload(const PieceList& pieces) const;

  const c10::Device device_;
  const DeviceKernels& kernels_;
  const Ways ways_;
  int64_t reals_ = 0;

  std::mutex mutex_;
  double gathers_ = 0.0;
  at::Tensor vector_;  // and its tail
  at::Tensor tail_;    // of vectors that are not the lane's own
  std::optional<Uploaded> first_;
  std::vector<Uploaded> tables_;  // the others, the latest first
  std::vector<c10::Event> idle_;  // of tickets that were waited for
  std::optional<c10::Stream> stream_;
  std::optional<c10::Event> done_;  // what was queued there
};

}  // namespace minimize
