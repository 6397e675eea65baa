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
  pieces_.allow_nonfinite();
  return true;
}

double* DeviceShare::staging() {
  if (!staging_) {
    staging_ = lane_->kernels().host_memory((lane_->reals() + kTail) * sizeof(double));
  }
  return static_cast<double*>(staging_.get());
}

void DeviceShare::queue_gather(double* host) {
  host_ = host;
  ticket_ = lane_->queue_gather(pieces_, host);
}

bool DeviceShare::wait(double& waited) {
  waited += lane_->wait(*ticket_);
  return host_[lane_->reals() + 1] != ticket_->number;
}

double DeviceShare::carried() const {
  return host_[lane_->reals()];
}

void DeviceShare::queue_scatter() {
  TORCH_INTERNAL_ASSERT(pieces_.reals() == lane_->reals());
  lane_->queue_scatter(pieces_, staging());
}

}  // namespace minimize
