#include "flat_pass.h"

#include "convert.h"
#include "strided.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>

namespace minimize {
namespace {

/// Calls f with a null pointer of the C++ type of a real of this dtype.
template <class F>
decltype(auto) with_type(c10::ScalarType dtype, const F& f) {
  switch (dtype) {
    case c10::ScalarType::Half:
      return f(static_cast<c10::Half*>(nullptr));
    case c10::ScalarType::BFloat16:
      return f(static_cast<c10::BFloat16*>(nullptr));
    case c10::ScalarType::Float:
      return f(static_cast<float*>(nullptr));
    default:
      return f(static_cast<double*>(nullptr));
  }
}

/// Which of the reals at even and odd flat positions a lazy view negates.
struct LazySigns {
  explicit LazySigns(const c10::TensorImpl& view)
      : complex(c10::isComplexType(c10::typeMetaToScalarType(view.dtype()))),
        even(view.key_set().has(c10::DispatchKey::Negative)),
        odd(even != (complex && view.key_set().has(c10::DispatchKey::Conjugate))) {}

  template <class T>
  void apply(T* data, int64_t stride, int64_t n, int64_t position) const {
    if (!even && !odd) {
      return;
    }
    for (int64_t i = 0; i < n; ++i) {
      const bool is_odd = complex && ((position + i) & 1) != 0;
      if (is_odd ? odd : even) {
        data[i * stride] = -data[i * stride];
      }
    }
  }

  bool complex;
  bool even;
  bool odd;
};

bool is_flat(const at::Tensor& tensor) {
  constexpr c10::DispatchKeySet lazy({c10::DispatchKey::Conjugate, c10::DispatchKey::Negative});
  return tensor.is_contiguous() && !tensor.key_set().has_any(lazy);
}

}  // namespace

FlatPass::FlatPass(int64_t numel, size_t count) : numel_(numel) {
  pieces_.reserve(count);
}

void FlatPass::append(const at::Tensor& host, void* data) {
  const int64_t numel = host.numel();
  if (numel == 0) {
    return;
  }
  const auto dtype = host.scalar_type();
  pieces_.push_back({end_,
                     data,
                     is_flat(host) ? nullptr : host.unsafeGetTensorImpl(),
                     c10::toRealValueType(dtype)});
  end_ += c10::isComplexType(dtype) ? 2 * numel : numel;
}

void FlatPass::read(const at::Tensor& tensor) {
  if (tensor.is_cpu()) {
    if (numel_ >= kSerialReals) {
      held_.push_back(tensor);
    }
    append(tensor, const_cast<void*>(tensor.const_data_ptr()));
  } else {
    read_owned(tensor);
  }
}

void FlatPass::read_owned(at::Tensor tensor) {
  const at::NoGradGuard no_grad;
  held_.push_back(tensor.to(at::kCPU));
  append(held_.back(), const_cast<void*>(held_.back().const_data_ptr()));
}

void FlatPass::write(const at::Tensor& tensor) {
  if (tensor.is_cpu()) {
    if (numel_ >= kSerialReals) {
      held_.push_back(tensor);
    }
    append(tensor, tensor.mutable_data_ptr());
    written_.push_back(tensor.unsafeGetTensorImpl());
  } else {
    staged_.push_back({tensor, at::empty(tensor.sizes(), tensor.options().device(at::kCPU))});
    const auto& host = staged_.back().host;
    append(host, host.mutable_data_ptr());
  }
}

void FlatPass::zeros(int64_t numel) {
  if (numel > 0) {
    pieces_.push_back({end_, nullptr, nullptr, c10::ScalarType::Double});
    end_ += numel;
  }
}

template <class Copy>
void FlatPass::for_each_piece(int64_t begin, int64_t end, const Copy& copy) const {
  const auto after =
      std::upper_bound(pieces_.begin(), pieces_.end(), begin, [](int64_t at, const Piece& piece) {
        return at < piece.begin;
      });
  for (auto piece = after - 1; begin < end; ++piece) {
    const int64_t piece_end = piece + 1 == pieces_.end() ? end_ : (piece + 1)->begin;
    const int64_t n = std::min(end, piece_end) - begin;
    copy(*piece, begin, n);
    begin += n;
  }
}

bool FlatPass::gather(double* out) const {
  TORCH_INTERNAL_ASSERT(end_ == numel_);
  std::atomic<bool> finite{true};
  const auto copy = [&](const Piece& piece, int64_t begin, int64_t n) {
    double* const dst = out + begin;
    if (piece.data == nullptr) {
      std::fill_n(dst, n, 0.0);
      return true;
    }
    return with_type(piece.dtype, [&](auto* type) {
      const auto* src = static_cast<decltype(type)>(piece.data);
      const int64_t from = begin - piece.begin;
      if (piece.view == nullptr) {
        return read_run(src + from, 1, n, dst);
      }
      bool row_finite = true;
      StridedReals(*piece.view)
          .for_each_row(from, n, [&](int64_t at, int64_t stride, int64_t len, int64_t k) {
            row_finite &= read_run(src + at, stride, len, dst + k);
          });
      LazySigns(*piece.view).apply(dst, 1, n, from);
      return row_finite;
    });
  };
  at::parallel_for(0, numel_, kSerialReals, [&](int64_t begin, int64_t end) {
    bool part_finite = true;
    for_each_piece(begin, end, [&](const Piece& piece, int64_t at, int64_t n) {
      part_finite &= copy(piece, at, n);
    });
    if (!part_finite) {
      finite.store(false, std::memory_order_relaxed);
    }
  });
  return finite.load();
}

void FlatPass::scatter(const double* x) const {
  TORCH_INTERNAL_ASSERT(end_ == numel_);
  const auto copy = [&](const Piece& piece, int64_t begin, int64_t n) {
    const double* const src = x + begin;
    with_type(piece.dtype, [&](auto* type) {
      auto* dst = static_cast<decltype(type)>(piece.data);
      const int64_t from = begin - piece.begin;
      if (piece.view == nullptr) {
        write_run(src, n, dst + from, 1);
        return;
      }
      const LazySigns signs(*piece.view);
      StridedReals(*piece.view)
          .for_each_row(from, n, [&](int64_t at, int64_t stride, int64_t len, int64_t k) {
            write_run(src + k, len, dst + at, stride);
            signs.apply(dst + at, stride, len, from + k);
          });
    });
  };
  at::parallel_for(0, numel_, kSerialReals, [&](int64_t begin, int64_t end) {
    for_each_piece(begin, end, copy);
  });
  for (const auto* impl : written_) {
    const_cast<c10::TensorImpl*>(impl)->bump_version();
  }
  const at::NoGradGuard no_grad;
  for (const auto& [target, host] : staged_) {
    target.copy_(host);
  }
}

}  // namespace minimize
