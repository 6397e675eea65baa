// The host's part of a pass: between the vector and memory that the host can read, which
// is what devices send as well.

#include "flat/ahead.h"
#include "flat/flat_pass.h"
#include "host/convert.h"
#include "tensor/strided.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <vector>

namespace minimize {
namespace {

// From this size on x, the parameters, their gradients and the vector of these do not fit a cache
// of 32 MB together.
constexpr int64_t kStreamReals = 3 << 18;
// A run must be this long for streaming stores, which end in a fence.
constexpr int64_t kStreamRun = 1 << 12;
// A million reals are then copied by sixteen threads.
constexpr int64_t kStagingReals = 1 << 16;

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

template <class Copy>
void FlatPass::for_each_run(int64_t begin, int64_t end, const Copy& copy) const {
  auto piece = std::upper_bound(
      pieces_.begin(), pieces_.end(), begin,
      [](int64_t at, const Piece& p) { return at < p.begin; });
  for (--piece; begin < end; ++piece) {
    const int64_t piece_end = piece + 1 == pieces_.end() ? end_ : piece[1].begin;
    const int64_t n = std::min(end, piece_end) - begin;
    if (pieces_.end() - piece > static_cast<int64_t>(kAhead)) {
      fetch(piece[kAhead].data);
    }
    copy(*piece, begin, n);
    begin += n;
  }
}

FlatPass::Gathered FlatPass::gather_on_host(double* out) const {
  const auto copy = [&](const Piece& piece, int64_t begin, int64_t n) -> Extent {
    double* const dst = out + begin;
    const int64_t from = begin - piece.begin;
    if (piece.data == nullptr) {
      std::fill_n(dst, n, 0.0);
      return {};
    }
    return with_type(piece.dtype, piece.data, [&](const auto* src) {
      if (piece.view == nullptr) {
        const bool stream = numel_ >= kStreamReals && n >= kStreamRun;
        return read_run(src + from, 1, n, dst, stream);
      }
      Extent extent;
      const auto read_row = [&](int64_t offset, int64_t stride, int64_t len, int64_t k) {
        extent.see(read_run(src + offset, stride, len, dst + k, false));
      };
      StridedReals(*piece.view).for_each_row(from, n, read_row);
      LazySigns(*piece.view).apply(dst, 1, n, from);
      return extent;
    });
  };
  Extent extent;
  std::mutex mutex;
  at::parallel_for(0, numel_, grain(), [&](int64_t begin, int64_t end) {
    Extent part;
    for_each_run(begin, end, [&](const Piece& piece, int64_t at, int64_t n) {
      part.see(copy(piece, at, n));
    });
    const std::lock_guard lock(mutex);
    extent.see(part);
  });
  return {extent.finite(), extent.largest()};
}

/// Reals for which a thread is woken. Where a device waits for a long pass more of them share it.
int64_t FlatPass::grain() const {
  return shares_.empty() || numel_ < kSerialReals ? kSerialReals : kStagingReals;
}

void FlatPass::scatter_on_host(const double* x, int64_t from_real, int64_t to_real) const {
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
  at::parallel_for(from_real, to_real, grain(), [&](int64_t begin, int64_t end) {
    for_each_run(begin, end, copy);
  });
}

/// Whether x may be a view of the memory that is about to be written, whose values
/// would change before they are read.
bool FlatPass::shares_memory_with(const double* x, Memory memory) const {
  const std::less<> before;  // of unrelated pointers
  const auto* const x_begin = reinterpret_cast<const char*>(x);
  const auto* const x_end = reinterpret_cast<const char*>(x + numel_);
  const bool anywhere = memory == Memory::kDevice;
  return std::any_of(written_.begin(), written_.end(), [&](const c10::TensorImpl* impl) {
    if (!anywhere && !impl->is_cpu()) {
      return false;
    }
    const auto& storage = impl->unsafe_storage();
    const auto* const begin = static_cast<const char*>(storage.data());
    return before(begin, x_end) && before(x_begin, begin + storage.nbytes());
  });
}

}  // namespace minimize
