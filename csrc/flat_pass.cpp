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

constexpr c10::DispatchKeySet kLazyKeys({c10::DispatchKey::Conjugate, c10::DispatchKey::Negative});

c10::ScalarType dtype_of(const c10::TensorImpl& tensor) {
  return c10::typeMetaToScalarType(tensor.dtype());
}

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

/// Negates the reals that a lazily conjugated or negated view has negated.
class LazySigns {
 public:
  explicit LazySigns(const c10::TensorImpl& view)
      : complex_(c10::isComplexType(dtype_of(view))),
        even_(view.key_set().has(c10::DispatchKey::Negative)),
        odd_(even_ != view.key_set().has(c10::DispatchKey::Conjugate)) {}

  /// Data are n reals of the view from its real number `from` on.
  template <class T>
  void apply(T* data, int64_t stride, int64_t n, int64_t from) const {
    if (even_) {
      for (int64_t i = complex_ ? from % 2 : 0; i < n; i += complex_ ? 2 : 1) {
        data[i * stride] = -data[i * stride];
      }
    }
    if (odd_ && complex_) {
      for (int64_t i = 1 - from % 2; i < n; i += 2) {
        data[i * stride] = -data[i * stride];
      }
    }
  }

 private:
  bool complex_;
  bool even_;
  bool odd_;
};

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
  const bool flat = host.is_contiguous() && !host.key_set().has_any(kLazyKeys);
  const auto offset = host.storage_offset() * static_cast<int64_t>(host.itemsize());
  auto* const data = static_cast<char*>(const_cast<void*>(memory)) + offset;
  auto& piece = pieces_.emplace_back();
  piece.begin = end_;
  piece.data = data;
  piece.view = flat ? nullptr : &host;
  piece.dtype = complex ? c10::toRealValueType(dtype) : dtype;
  end_ += complex ? 2 * numel : numel;
}

void FlatPass::read(const at::Tensor& tensor) {
  if (!tensor.is_cpu()) {
    read_owned(tensor);
    return;
  }
  if (numel_ >= kSerialReals) {
    held_.push_back(tensor);
  }
  const auto& impl = *tensor.unsafeGetTensorImpl();
  append(impl, impl.unsafe_storage().data());
}

void FlatPass::read_owned(at::Tensor tensor) {
  const at::NoGradGuard no_grad;
  held_.push_back(tensor.to(at::kCPU));
  const auto& impl = *held_.back().unsafeGetTensorImpl();
  append(impl, impl.unsafe_storage().data());
}

void FlatPass::zeros(int64_t numel) {
  if (numel > 0) {
    pieces_.push_back({end_, nullptr, nullptr, c10::ScalarType::Double});
    end_ += numel;
  }
}

void FlatPass::write(const at::Tensor& tensor) {
  if (!tensor.is_cpu()) {
    staged_.push_back({tensor, at::empty(tensor.sizes(), tensor.options().device(at::kCPU))});
    const auto& host = *staged_.back().host.unsafeGetTensorImpl();
    append(host, host.unsafe_storage().mutable_data());
    return;
  }
  if (numel_ >= kSerialReals) {
    held_.push_back(tensor);
  }
  auto* const impl = tensor.unsafeGetTensorImpl();
  append(*impl, impl->unsafe_storage().mutable_data());
  written_.push_back(impl);
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

bool FlatPass::gather(double* out) const {
  TORCH_INTERNAL_ASSERT(end_ == numel_);
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

void FlatPass::scatter(const double* x) const {
  TORCH_INTERNAL_ASSERT(end_ == numel_);
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
  for (auto* const impl : written_) {
    impl->bump_version();
  }
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
