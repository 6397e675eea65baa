#include "flat_pass.h"

#include "convert.h"
#include "strided.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <vector>

namespace minimize {
namespace {

// From this size on the vector and the tensors do not fit the caches together.
constexpr int64_t kStreamReals = 1 << 20;
// A run must be this long for streaming stores, which end in a fence.
constexpr int64_t kStreamRun = 1 << 12;

/// Calls f with a pointer of the C++ type of a real of this dtype.
template <class F>
decltype(auto) with_type(c10::ScalarType dtype, void* data, const F& f) {
  switch (dtype) {
    case c10::ScalarType::Half:
      return f(static_cast<c10::Half*>(data));
    case c10::ScalarType::BFloat16:
      return f(static_cast<c10::BFloat16*>(data));
    case c10::ScalarType::Float:
      return f(static_cast<float*>(data));
    default:
      return f(static_cast<double*>(data));
  }
}

}  // namespace

FlatPass::FlatPass(int64_t numel, size_t count) : numel_(numel) {
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
    shares_.emplace_back(lane);
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
  const auto found = std::find_if(
      shares_.begin(), shares_.end(), [&](DeviceShare& share) { return share.carry(scalar); });
  carrier_ = found == shares_.end() ? nullptr : &*found;
  return carrier_ != nullptr;
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

template <class Copy>
void FlatPass::for_each_run(int64_t begin, int64_t end, const Copy& copy) const {
  auto piece = std::upper_bound(
      pieces_.begin(), pieces_.end(), begin,
      [](int64_t at, const Piece& p) { return at < p.begin; });
  for (--piece; begin < end; ++piece) {
    const int64_t piece_end = piece + 1 == pieces_.end() ? end_ : piece[1].begin;
    const int64_t n = std::min(end, piece_end) - begin;
    copy(*piece, begin, n);
    begin += n;
  }
}

bool FlatPass::gather(double* out, Past past) {
  TORCH_INTERNAL_ASSERT(end_ == numel_);
  if (shares_.empty()) {
    return gather_on_host(out);
  }
  // Where one device has everything, what it sends is the vector itself.
  const bool direct =
      past == Past::kTail && shares_.size() == 1 && shares_[0].lane().reals() == numel_;
  for (auto& share : shares_) {
    share.queue_gather(direct ? out : share.staging());
  }
  bool finite = true;
  for (auto& share : shares_) {
    finite &= share.wait(waited_);
  }
  if (direct) {
    return finite;
  }
  point_to_staging();
  return gather_on_host(out) && finite;
}

bool FlatPass::gather_on_host(double* out) const {
  const auto copy = [&](const Piece& piece, int64_t begin, int64_t n) {
    double* const dst = out + begin;
    const int64_t from = begin - piece.begin;
    if (piece.data == nullptr) {
      std::fill_n(dst, n, 0.0);
      return true;
    }
    return with_type(piece.dtype, piece.data, [&](const auto* src) {
      if (piece.view == nullptr) {
        const bool stream = numel_ >= kStreamReals && n >= kStreamRun;
        return read_run(src + from, 1, n, dst, stream);
      }
      bool finite = true;
      const auto read_row = [&](int64_t offset, int64_t stride, int64_t len, int64_t k) {
        finite &= read_run(src + offset, stride, len, dst + k, false);
      };
      StridedReals(*piece.view).for_each_row(from, n, read_row);
      LazySigns(*piece.view).apply(dst, 1, n, from);
      return finite;
    });
  };
  std::atomic<bool> finite{true};
  at::parallel_for(0, numel_, kSerialReals, [&](int64_t begin, int64_t end) {
    bool part = true;
    for_each_run(
        begin, end, [&](const Piece& piece, int64_t at, int64_t n) { part &= copy(piece, at, n); });
    if (!part) {
      finite.store(false, std::memory_order_relaxed);
    }
  });
  return finite.load(std::memory_order_relaxed);
}

void FlatPass::scatter(const double* x) {
  TORCH_INTERNAL_ASSERT(end_ == numel_);
  point_to_staging();
  scatter_on_host(x);
  for (auto& share : shares_) {
    share.queue_scatter();
  }
  for (auto* const impl : written_) {
    impl->bump_version();
  }
}

void FlatPass::scatter_on_host(const double* x) const {
  std::vector<double> copy_of_x;
  if (shares_memory_with(x)) {
    copy_of_x.assign(x, x + numel_);
    x = copy_of_x.data();
  }
  const auto copy = [&](const Piece& piece, int64_t begin, int64_t n) {
    const double* const src = x + begin;
    const int64_t from = begin - piece.begin;
    with_type(piece.dtype, piece.data, [&](auto* dst) {
      if (piece.view == nullptr) {
        const bool stream = numel_ >= kStreamReals && n >= kStreamRun;
        write_run(src, n, dst + from, 1, stream);
        return;
      }
      const LazySigns signs(*piece.view);
      const auto write_row = [&](int64_t offset, int64_t stride, int64_t len, int64_t k) {
        write_run(src + k, len, dst + offset, stride, false);
        signs.apply(dst + offset, stride, len, from + k);
      };
      StridedReals(*piece.view).for_each_row(from, n, write_row);
    });
  };
  at::parallel_for(
      0, numel_, kSerialReals, [&](int64_t begin, int64_t end) { for_each_run(begin, end, copy); });
  const at::NoGradGuard no_grad;
  for (const auto& [target, host] : staged_) {
    target.copy_(host);
  }
}

/// Whether x may be a view of the memory that is about to be written, whose values
/// would change before they are read.
bool FlatPass::shares_memory_with(const double* x) const {
  const std::less<> before;  // of unrelated pointers
  const auto* const x_begin = reinterpret_cast<const char*>(x);
  const auto* const x_end = reinterpret_cast<const char*>(x + numel_);
  return std::any_of(written_.begin(), written_.end(), [&](const c10::TensorImpl* impl) {
    const auto& storage = impl->unsafe_storage();
    const auto* const begin = static_cast<const char*>(storage.data());
    return before(begin, x_end) && before(x_begin, begin + storage.nbytes());
  });
}

}  // namespace minimize
