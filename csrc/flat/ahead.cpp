#include "flat/ahead.h"

#include <c10/core/StorageImpl.h>
#include <c10/core/TensorImpl.h>

namespace minimize {
namespace {

constexpr size_t kLine = 64;

void fetch_tensor(const c10::TensorImpl* impl) {
  for (size_t at = 0; at < sizeof(c10::TensorImpl); at += kLine) {
    fetch(reinterpret_cast<const char*>(impl) + at);
  }
}

const c10::TensorImpl* grad_of(const at::Tensor* param) {
  return param->unsafeGetTensorImpl()->grad().unsafeGetTensorImpl();
}

}  // namespace

Ahead::Ahead(const std::vector<at::Tensor>& params) {
  hints_.reserve(params.size());
  for (const auto& param : params) {
    const auto& impl = *param.unsafeGetTensorImpl();
    hints_.push_back({&param, impl.unsafe_storage().unsafeGetStorageImpl(), impl.autograd_meta()});
  }
}

void Ahead::params(size_t i) const {
  if (i + kAhead < hints_.size()) {
    const auto& next = hints_[i + kAhead];
    fetch_tensor(next.param->unsafeGetTensorImpl());
    fetch(next.storage);
  }
}

void Ahead::grads(size_t i) const {
  if (i + 3 * kAhead >= hints_.size()) {
    return;
  }
  fetch(hints_[i + 3 * kAhead].autograd);
  fetch_tensor(hints_[i + 3 * kAhead].param->unsafeGetTensorImpl());
  fetch(hints_[i + 3 * kAhead].storage);
  fetch_tensor(grad_of(hints_[i + 2 * kAhead].param));
  fetch(grad_of(hints_[i + kAhead].param)->unsafe_storage().unsafeGetStorageImpl());
}

void Ahead::held_grads(size_t i) const {
  if (i + 2 * kAhead < hints_.size()) {
    fetch(hints_[i + 2 * kAhead].autograd);
    fetch_tensor(hints_[i + 2 * kAhead].param->unsafeGetTensorImpl());
    fetch(grad_of(hints_[i + kAhead].param));
  }
}

}  // namespace minimize
