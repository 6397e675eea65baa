#include "device/share.h"

#include "host/memory.h"
#include "tensor/checks.h"

#include <utility>

namespace minimize {

void DeviceShare::add(const at::Tensor& tensor, const void* storage) {
  const auto& impl = *tensor.unsafeGetTensorImpl();
  const auto offset = impl.storage_offset() * static_cast<int64_t>(impl.itemsize());
  pieces_.add(impl, static_cast<char*>(const_cast<void*>(storage)) + offset);
  held_.push_back(tensor);
}

bool DeviceShare::carry(const at::Tensor& scalar) {
  const auto& impl = *scalar.unsafeGetTensorImpl();
  if (scalar.device() != lane_->device() || !is_readable_scalar(impl)) {
    return false;
  }
  add(scalar, impl.unsafe_storage().data());
  pieces_.carry_last();
  is_carrying_ = true;
  return true;
}

double* DeviceShare::staging() {
  if (!staging_) {
    staging_ = lane_->kernels().host_memory(bytes_with_tail(reals()));
  }
  return static_cast<double*>(staging_.get());
}

void DeviceShare::queue_gather(double* host) {
  host_ = host;
  if (has_tail_beside(reals())) {
    tail_ = reinterpret_cast<device::Tail*>(host + reals());
  } else {
    tail_memory_ = lane_->kernels().host_memory(sizeof *tail_);
    tail_ = static_cast<device::Tail*>(tail_memory_.get());
  }
  ticket_ = lane_->queue_gather(load(), host, tail_);
}

void DeviceShare::queue_gather_into(double* flat, bool is_awaited) {
  if (is_awaited) {
    tail_memory_ = lane_->kernels().host_memory(sizeof *tail_);
  }
  tail_ = static_cast<device::Tail*>(tail_memory_.get());
  ticket_ = lane_->queue_gather_into(load(), flat, tail_);
}

bool DeviceShare::wait(double& waited) {
  const double number = ticket_->number;
  waited += lane_->wait(std::move(*ticket_));
  ticket_.reset();
  return tail_->mark != number;
}

double DeviceShare::carried() const {
  return tail_->carried;
}

void DeviceShare::abandon() {
  if (!ticket_) {
    return;
  }
  const auto hold = lane_->kernels().hold;
  for (void* const memory : {static_cast<void*>(host_), tail_memory_.get()}) {
    if (memory != nullptr) {
      hold(memory, ticket_->stream);
    }
  }
}

void DeviceShare::queue_scatter(const DeviceLane::Write& write) {
  lane_->queue_scatter(load(), staging(), write);
}

void DeviceShare::queue_scatter_from(const double* flat) {
  lane_->queue_scatter_from(load(), flat);
}

}  // namespace minimize
