#include "device/share.h"

#include "host/memory.h"
#include "tensor/checks.h"

#include <c10/util/Exception.h>

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
  TORCH_INTERNAL_ASSERT(pieces_.reals() == lane_->reals());
  add(scalar, impl.unsafe_storage().data());
  pieces_.carry_last();
  return true;
}

double* DeviceShare::staging() {
  if (!staging_) {
    staging_ = lane_->kernels().host_memory((lane_->reals() + kTail) * sizeof(double));
  }
  return static_cast<double*>(staging_.get());
}

void DeviceShare::queue_gather(double* host) {
  tail_ = reinterpret_cast<const device::Tail*>(host + lane_->reals());
  ticket_ = lane_->queue_gather(pieces_, host);
}

void DeviceShare::queue_gather_into(double* flat, bool is_awaited) {
  if (is_awaited) {
    staging_ = lane_->kernels().host_memory(sizeof(device::Tail));
  }
  tail_ = static_cast<const device::Tail*>(staging_.get());
  ticket_ = lane_->queue_gather_into(pieces_, flat, static_cast<double*>(staging_.get()));
}

bool DeviceShare::wait(double& waited) {
  waited += lane_->wait(*ticket_);
  return tail_->mark != ticket_->number;
}

double DeviceShare::carried() const {
  return tail_->carried;
}

void DeviceShare::queue_scatter() {
  TORCH_INTERNAL_ASSERT(pieces_.reals() == lane_->reals());
  lane_->queue_scatter(pieces_, staging());
}

void DeviceShare::queue_scatter_from(const double* flat) {
  TORCH_INTERNAL_ASSERT(pieces_.reals() == lane_->reals());
  lane_->queue_scatter_from(pieces_, flat);
}

}  // namespace minimize
