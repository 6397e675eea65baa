#include "flat/flat_pass.h"

#include "flat/ahead.h"
#include "tensor/strided.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace minimize {

FlatPass::FlatPass(int64_t numel, size_t count, bool comes_again)
    : numel_(numel), comes_again_(comes_again) {
  pieces_.reserve(count);
}

void FlatPass::append(const c10::TensorImpl& host, const void* memory) {
  const int64_t numel = host.numel();
  if (numel == 0) {
    return;
  }
  const auto dtype = dtype_of(host);
  const bool complex = c10::isComplexType(dtype);
  const auto offset = host.storage_offset() * static_cast<int64_t>(host.itemsize());
  auto* const data = static_cast<char*>(const_cast<void*>(memory)) + offset;
  auto& piece = pieces_.emplace_back();
  piece.begin = end_;
  piece.data = data;
  piece.view = is_in_flat_order(host) ? nullptr : &host;
  piece.dtype = complex ? c10::toRealValueType(dtype) : dtype;
  end_ += complex ? 2 * numel : numel;
}

/// A device's tensors that are neighbours in the flat vector are in its share of it, too,
/// so that they are one piece here.
DeviceShare& FlatPass::append(DeviceLane& lane, int64_t reals) {
  const auto found = std::find_if(shares_.begin(), shares_.end(), [&](const DeviceShare& share) {
    return &share.lane() == &lane;
  });
  const auto s = static_cast<size_t>(found - shares_.begin());
  if (found == shares_.end()) {
    shares_.emplace_back(lane, pieces_.capacity(), comes_again_);
  }
  auto& share = shares_[s];
  const bool goes_on = !crossings_.empty() && crossings_.back().share == s &&
                       crossings_.back().piece + 1 == pieces_.size();
  if (!goes_on && reals > 0) {
    crossings_.push_back({pieces_.size(), s, share.reals()});
    pieces_.push_back({end_, nullptr, nullptr, c10::ScalarType::Double});
  }
  end_ += reals;
  return share;
}

void FlatPass::read(const at::Tensor& tensor, DeviceLane* lane) {
  const auto& impl = *tensor.unsafeGetTensorImpl();
  if (lane != nullptr) {
    append(*lane, count_reals(impl)).add(tensor, impl.unsafe_storage().data());
    return;
  }
  if (!tensor.is_cpu()) {
    read_owned(tensor, nullptr);
    return;
  }
  if (numel_ >= kSerialReals) {
    held_.push_back(tensor);
  }
  append(impl, impl.unsafe_storage().data());
}

void FlatPass::read_owned(at::Tensor tensor, DeviceLane* lane) {
  if (lane != nullptr) {
    read(tensor, lane);
    return;
  }
  const at::NoGradGuard no_grad;
  held_.push_back(tensor.to(at::kCPU));
  const auto& impl = *held_.back().unsafeGetTensorImpl();
  append(impl, impl.unsafe_storage().data());
}

void FlatPass::zeros(int64_t numel, DeviceLane* lane) {
  if (lane != nullptr) {
    append(*lane, numel).add_zeros(numel);
  } else if (numel > 0) {
    pieces_.push_back({end_, nullptr, nullptr, c10::ScalarType::Double});
    end_ += numel;
  }
}

void FlatPass::write(const at::Tensor& tensor, DeviceLane* lane) {
  auto* const impl = tensor.unsafeGetTensorImpl();
  if (lane != nullptr) {
    append(*lane, count_reals(*impl)).add(tensor, impl->unsafe_storage().mutable_data());
    written_.push_back(impl);
    return;
  }
  if (!tensor.is_cpu()) {
    staged_.push_back({tensor, at::empty(tensor.sizes(), tensor.options().device(at::kCPU))});
    const auto& host = *staged_.back().host.unsafeGetTensorImpl();
    append(host, host.unsafe_storage().mutable_data());
    return;
  }
  if (numel_ >= kSerialReals) {
    held_.push_back(tensor);
  }
  append(*impl, impl->unsafe_storage().mutable_data());
  written_.push_back(impl);
}

bool FlatPass::carry(const at::Tensor& scalar) {
  carrier_ = carrier_of(scalar);
  if (carrier_ == nullptr && is_queued(scalar)) {
    // An integer, or on a device without parameters: reading it would be a wait of its own.
    const at::NoGradGuard no_grad;
    const auto options = at::device(shares_[0].lane().device()).dtype(at::kDouble);
    carrier_ = carrier_of(scalar.to(options, /*non_blocking=*/true));
  }
  return carrier_ != nullptr;
}

const DeviceShare* FlatPass::carrier_of(const at::Tensor& scalar) {
  const auto found = std::find_if(
      shares_.begin(), shares_.end(), [&](DeviceShare& share) { return share.carry(scalar); });
  return found == shares_.end() ? nullptr : &*found;
}

/// Whether a real scalar has to be waited for, as whatever shares_[0] gathers has.
bool FlatPass::is_queued(const at::Tensor& scalar) const {
  if (shares_.empty() || scalar.numel() != 1 || scalar.is_complex()) {
    return false;
  }
  return !scalar.is_cpu() || scalar.device() == shares_[0].lane().device();
}

double FlatPass::carried() const {
  TORCH_INTERNAL_ASSERT(carrier_ != nullptr);
  return carrier_->carried();
}

void FlatPass::point_to_staging() {
  for (const auto& [piece, share, begin] : crossings_) {
    pieces_[piece].data = shares_[share].staging() + begin;
  }
}

bool FlatPass::is_of_one_share() const {
  return shares_.size() == 1 && shares_[0].reals() == numel_;
}

DeviceShare& FlatPass::only_share() {
  TORCH_INTERNAL_ASSERT(is_of_one_share());
  return shares_[0];
}

FlatPass::Gathered FlatPass::gather(double* out, Memory memory) {
  constexpr double unknown = std::numeric_limits<double>::quiet_NaN();
  TORCH_INTERNAL_ASSERT(end_ == numel_);
  if (memory == Memory::kDevice) {
    auto& share = only_share();
    share.queue_gather_into(out, /*is_awaited=*/true);
    return {share.wait(waited_), unknown};
  }
  if (shares_.empty()) {
    return gather_on_host(out);
  }
  // Where one device has everything, what it sends is the vector itself.
  const bool direct = memory == Memory::kPooled && is_of_one_share();
  bool finite = true;
  try {
    for (auto& share : shares_) {
      share.queue_gather(direct ? out : share.staging());
    }
    for (auto& share : shares_) {
      finite &= share.wait(waited_);  // each of them
    }
  } catch (...) {
    for (auto& share : shares_) {
      share.abandon();
    }
    throw;
  }
  if (direct) {
    return {finite, unknown};
  }
  point_to_staging();
  return gather_on_host(out);
}

void FlatPass::fill(double* out, Memory memory) {
  TORCH_INTERNAL_ASSERT(end_ == numel_);
  if (memory == Memory::kDevice) {
    only_share().queue_gather_into(out, /*is_awaited=*/false);
  } else {
    gather(out, memory);
  }
}

void FlatPass::scatter(const double* x, Memory memory) {
  TORCH_INTERNAL_ASSERT(end_ == numel_);
  for (size_t i = 0; i < written_.size(); ++i) {
    if (i + kAhead < written_.size()) {
      fetch(written_[i + kAhead]);
    }
    written_[i]->bump_version();
  }
  if (memory == Memory::kDevice) {
    scatter_on_device(x);
    return;
  }
  std::vector<double> copy_of_x;
  if (shares_memory_with(x, memory)) {
    copy_of_x.assign(x, x + numel_);
    x = copy_of_x.data();
  }
  point_to_staging();
  if (is_of_one_share()) {
    shares_[0].queue_scatter([&](int64_t begin, int64_t end) { scatter_on_host(x, begin, end); });
    return;
  }
  scatter_on_host(x, 0, numel_);
  copy_staged();
  for (auto& share : shares_) {
    share.queue_scatter([](int64_t, int64_t) {});
  }
}

void FlatPass::copy_staged() const {
  const at::NoGradGuard no_grad;
  for (const auto& [target, host] : staged_) {
    target.copy_(host);
  }
}

void FlatPass::scatter_on_device(const double* x) {
  auto& share = only_share();
  at::Tensor copy_of_x;
  if (shares_memory_with(x, Memory::kDevice)) {
    const auto options = at::device(share.lane().device()).dtype(at::kDouble);
    copy_of_x = at::from_blob(const_cast<double*>(x), {numel_}, options).clone();
    x = copy_of_x.const_data_ptr<double>();
  }
  share.queue_scatter_from(x);
}

}  // namespace minimize
