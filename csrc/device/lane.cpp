#include "device/lane.h"

#include "host/memory.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

namespace minimize {
namespace {

// Besides the first: gradients, and the vectors and products of a curvature method, with
// one to spare for memory that torch's allocator hands out in turn.
constexpr size_t kTables = 4;

at::Tensor as_tensor(double* host, int64_t numel) {
  return at::from_blob(host, {numel}, at::dtype(at::kDouble));
}

}  // namespace

/// Around what a thread queues: the lane is its own, the device and the modes are those
/// of the lane's tensors, and the current stream comes after whatever another stream may
/// still do to their memory.
class DeviceLane::Turn {
 public:
  explicit Turn(DeviceLane& lane)
      : lane_(lane),
        lock_(lane.mutex_),
        device_guard_(lane.device_),
        stream_(c10::impl::VirtualGuardImpl(lane.device_.type()).getStream(lane.device_)) {
    if (lane.stream_ && *lane.stream_ != stream_) {
      lane.done_->block(stream_);
      for (const auto& memory : {lane.vector_, lane.tail_}) {
        if (memory.defined()) {
          memory.record_stream(stream_);
        }
      }
      if (lane.first_) {
        lane.first_->memory.record_stream(stream_);
      }
      for (const auto& uploaded : lane.tables_) {
        uploaded.memory.record_stream(stream_);
      }
    }
    if (lane.kernels_.is_asynchronous && !lane.done_) {
      lane.done_.emplace(lane.device_.type());
    }
    lane.stream_ = stream_;
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    if (!lane_.kernels_.is_asynchronous) {
      return;
    }
    try {
      lane_.done_->record(stream_);
    } catch (const std::exception&) {
      // The device is lost, as whatever is queued next will say.
    }
  }

  const c10::Stream& stream() const {
    return stream_;
  }

 private:
  DeviceLane& lane_;
  const std::lock_guard<std::mutex> lock_;
  const c10::DeviceGuard device_guard_;
  const c10::InferenceMode no_inference_{false};
  const at::NoGradGuard no_grad_;
  const c10::Stream stream_;
};

/// Memory that the lane keeps, made in the turn that needs it first. Zeros, since no gather
/// has that number.
const at::Tensor& DeviceLane::own(at::Tensor& memory, int64_t reals) const {
  if (!memory.defined()) {
    memory = at::zeros({reals}, at::device(device_).dtype(at::kDouble));
  }
  return memory;
}

DeviceLane::Ticket DeviceLane::queue_gather(const PieceList& pieces, double* host) {
  const Turn turn(*this);
  const auto& vector = own(vector_, reals_ + kTail);
  return queue(turn, pieces, vector.mutable_data_ptr<double>(), vector, host);
}

DeviceLane::Ticket DeviceLane::queue_gather_into(
    const PieceList& pieces, double* flat, double* host) {
  const Turn turn(*this);
  return queue(turn, pieces, flat, own(tail_, kTail), host);
}

/// Gathers, and sends to the host what ends in the tail.
DeviceLane::Ticket DeviceLane::queue(
    const Turn& turn, const PieceList& pieces, double* flat, const at::Tensor& sent, double* host) {
  static_assert(sizeof(device::Tail) == kTail * sizeof(double));
  double* const end = sent.mutable_data_ptr<double>() + sent.numel();
  auto* const tail = reinterpret_cast<device::Tail*>(end - kTail);
  const bool is_awaited = host != nullptr;
  Ticket ticket{++gathers_, turn.stream(), std::nullopt, std::nullopt};
  if (is_awaited) {
    ticket.begin = mark(turn.stream());
  }
  kernels_.gather(table_of(pieces), flat, tail, ticket.number, turn.stream());
  if (is_awaited) {
    as_tensor(host, sent.numel()).copy_(sent, /*non_blocking=*/true);
    ticket.end = mark(turn.stream());
  }
  return ticket;
}

void DeviceLane::queue_scatter(const PieceList& pieces, double* host) {
  const Turn turn(*this);
  const auto vector = own(vector_, reals_ + kTail).narrow(0, 0, reals_);
  vector.copy_(as_tensor(host, reals_), /*non_blocking=*/true);
  kernels_.scatter(table_of(pieces), vector.const_data_ptr<double>(), turn.stream());
}

void DeviceLane::queue_scatter_from(const PieceList& pieces, const double* flat) {
  const Turn turn(*this);
  kernels_.scatter(table_of(pieces), flat, turn.stream());
}

std::optional<c10::Event> DeviceLane::mark(const c10::Stream& stream) const {
  if (!kernels_.is_asynchronous) {
    return std::nullopt;
  }
  c10::Event event(device_.type(), c10::EventFlag::BACKEND_DEFAULT);  // has a clock
  event.record(stream);
  return event;
}

double DeviceLane::wait(const Ticket& ticket) const {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  c10::impl::VirtualGuardImpl(device_.type()).synchronizeStream(ticket.stream);
  const double waited = std::chrono::duration<double>(Clock::now() - start).count();
  if (!ticket.begin) {
    return 0.0;
  }
  return std::max(0.0, waited - ticket.begin->elapsedTime(*ticket.end) * 1e-3);
}

const device::Table& DeviceLane::table_of(const PieceList& pieces) {
  if (!first_) {
    first_ = upload(pieces);
  }
  if (first_->pieces == pieces) {
    return first_->table;
  }
  auto found = std::find_if(tables_.begin(), tables_.end(), [&](const Uploaded& uploaded) {
    return uploaded.pieces == pieces;
  });
  if (found == tables_.end()) {
    auto uploaded = upload(pieces);
    if (tables_.size() == kTables) {
      tables_.pop_back();
    }
    found = tables_.insert(tables_.end(), std::move(uploaded));
  }
  std::rotate(tables_.begin(), found, found + 1);
  return tables_.front().table;
}

DeviceLane::Uploaded DeviceLane::upload(const PieceList& pieces) const {
  const PackedTable packed(pieces);
  const auto bytes = static_cast<int64_t>(packed.bytes());
  const auto host = kernels_.host_memory(packed.bytes());
  packed.write(host.get());
  const auto memory = at::empty({bytes}, at::device(device_).dtype(at::kByte));
  memory.copy_(at::from_blob(host.get(), {bytes}, at::dtype(at::kByte)), /*non_blocking=*/true);
  return {pieces, memory, packed.table(memory.const_data_ptr())};
}

}  // namespace minimize
