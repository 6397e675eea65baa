#include "device/lane.h"

#include "host/memory.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
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

static_assert(sizeof(device::Tail) == kTail * sizeof(double));

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
        lane.first_->placed.memory.record_stream(stream_);
      }
      for (const auto& uploaded : lane.tables_) {
        uploaded.placed.memory.record_stream(stream_);
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

/// The lane's own vector and tail, or new ones. What is new is for this turn's stream alone, and
/// so is whoever gets its memory after that.
at::Tensor DeviceLane::vector_for(int64_t reals) {
  if (reals == reals_) {
    return own(vector_, reals_ + kTail);
  }
  auto vector = at::empty({reals + kTail}, at::device(device_).dtype(at::kDouble));
  vector.narrow(0, reals, kTail).zero_();
  return vector;
}

DeviceLane::Ticket DeviceLane::queue_gather(const Load& load, double* host, device::Tail* tail) {
  const Turn turn(*this);
  const auto [memory, table] = table_for(load);
  Ticket ticket = next_ticket(/*is_awaited=*/true);
  if (load.reals <= ways_.direct_reals) {
    tail->mark = 0.0;
    kernels_.gather(table, host, tail, ticket.number, turn.stream());
    end(ticket);
    return ticket;
  }
  const auto vector = vector_for(load.reals);
  auto* const flat = vector.mutable_data_ptr<double>();
  auto* const flat_tail = reinterpret_cast<device::Tail*>(flat + load.reals);
  kernels_.gather(table, flat, flat_tail, ticket.number, turn.stream());
  const auto bytes = static_cast<size_t>(load.reals) * sizeof(double);
  if (reinterpret_cast<double*>(tail) == host + load.reals) {
    kernels_.copy_down(host, flat, bytes + sizeof *tail, turn.stream());
  } else {
    kernels_.copy_down(host, flat, bytes, turn.stream());
    kernels_.copy_down(tail, flat_tail, sizeof *tail, turn.stream());
  }
  end(ticket);
  return ticket;
}

DeviceLane::Ticket DeviceLane::queue_gather_into(
    const Load& load, double* flat, device::Tail* tail) {
  const Turn turn(*this);
  const auto [memory, table] = table_for(load);
  auto* const own_tail =
      reinterpret_cast<device::Tail*>(own(tail_, kTail).mutable_data_ptr<double>());
  Ticket ticket = next_ticket(tail != nullptr);
  kernels_.gather(table, flat, own_tail, ticket.number, turn.stream());
  if (tail != nullptr) {
    kernels_.copy_down(tail, own_tail, sizeof *tail, turn.stream());
    end(ticket);
  }
  return ticket;
}

void DeviceLane::queue_scatter(const Load& load, double* host, const Write& write) {
  const Turn turn(*this);
  const auto [memory, table] = table_for(load);
  // Before anything is queued that reads it.
  kernels_.hold(host, turn.stream());
  if (load.reals <= ways_.direct_reals) {
    write(0, load.reals);
    kernels_.scatter(table, host, turn.stream());
    return;
  }
  const auto vector = vector_for(load.reals);
  auto* const flat = vector.mutable_data_ptr<double>();
  for (int64_t begin = 0; begin < load.reals; begin += ways_.slab_reals) {
    const int64_t end = std::min(load.reals, begin + ways_.slab_reals);
    write(begin, end);
    const auto bytes = static_cast<size_t>(end - begin) * sizeof(double);
    kernels_.copy_up(flat + begin, host + begin, bytes, turn.stream());
  }
  kernels_.scatter(table, flat, turn.stream());
}

void DeviceLane::queue_scatter_from(const Load& load, const double* flat) {
  const Turn turn(*this);
  const auto [memory, table] = table_for(load);
  kernels_.scatter(table, flat, turn.stream());
}

DeviceLane::Ticket DeviceLane::next_ticket(bool is_awaited) {
  Ticket ticket{++gathers_, *stream_, std::nullopt, std::nullopt};
  if (is_awaited) {
    ticket.begin = mark();
  }
  return ticket;
}

void DeviceLane::end(Ticket& ticket) {
  ticket.end = mark();
}

std::optional<c10::Event> DeviceLane::mark() {
  if (!kernels_.is_asynchronous) {
    return std::nullopt;
  }
  if (idle_.empty()) {
    idle_.emplace_back(device_.type(), c10::EventFlag::BACKEND_DEFAULT);  // has a clock
  }
  auto event = std::move(idle_.back());
  idle_.pop_back();
  event.record(*stream_);
  return event;
}

double DeviceLane::wait(Ticket&& ticket) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  kernels_.wait(ticket.stream);
  const double waited = std::chrono::duration<double>(Clock::now() - start).count();
  if (!ticket.begin) {
    return 0.0;
  }
  const double taken = ticket.begin->elapsedTime(*ticket.end) * 1e-3;
  const std::lock_guard<std::mutex> lock(mutex_);
  idle_.push_back(std::move(*ticket.begin));
  idle_.push_back(std::move(*ticket.end));
  return std::max(0.0, waited - taken);
}

DeviceLane::Placed DeviceLane::table_for(const Load& load) {
  return load.comes_again ? kept_table(load.pieces) : upload(load.pieces);
}

const DeviceLane::Placed& DeviceLane::kept_table(const PieceList& pieces) {
  if (!first_) {
    first_ = {pieces, upload(pieces)};
  }
  if (first_->pieces == pieces) {
    return first_->placed;
  }
  auto found = std::find_if(tables_.begin(), tables_.end(), [&](const Uploaded& uploaded) {
    return uploaded.pieces == pieces;
  });
  if (found == tables_.end()) {
    Uploaded uploaded{pieces, upload(pieces)};
    if (tables_.size() == kTables) {
      tables_.pop_back();
    }
    found = tables_.insert(tables_.end(), std::move(uploaded));
  }
  std::rotate(tables_.begin(), found, found + 1);
  return tables_.front().placed;
}

DeviceLane::Placed DeviceLane::upload(const PieceList& pieces) const {
  const PackedTable packed(pieces);
  const auto host = kernels_.host_memory(packed.bytes());
  packed.write(host.get());
  const auto bytes = static_cast<int64_t>(packed.bytes());
  const auto memory = at::empty({bytes}, at::device(device_).dtype(at::kByte));
  if (bytes > 0) {  // not where all tensors are empty
    kernels_.hold(host.get(), *stream_);
    kernels_.copy_up(memory.mutable_data_ptr(), host.get(), packed.bytes(), *stream_);
  }
  return {memory, packed.table(memory.const_data_ptr())};
}

}  // namespace minimize
