#pragma once

// Row-major order over a strided tensor, in reals: a complex element is two of them.

#include <c10/core/DispatchKeySet.h>
#include <c10/core/TensorImpl.h>
#include <c10/util/ArrayRef.h>
#include <c10/util/SmallVector.h>

#include <algorithm>
#include <cstdint>

namespace minimize {

inline c10::ScalarType dtype_of(const c10::TensorImpl& tensor) {
  return c10::typeMetaToScalarType(tensor.dtype());
}

/// A complex element counts twice.
inline int64_t count_reals(const c10::TensorImpl& tensor) {
  return tensor.numel() * (c10::isComplexType(dtype_of(tensor)) ? 2 : 1);
}

/// Whether memory holds the tensor's reals one after the other, as they are.
inline bool is_in_flat_order(const c10::TensorImpl& tensor) {
  constexpr c10::DispatchKeySet lazy({c10::DispatchKey::Conjugate, c10::DispatchKey::Negative});
  return tensor.is_contiguous() && !tensor.key_set().has_any(lazy);
}

/// Negates the reals that a lazily conjugated or negated view has negated.
class LazySigns {
 public:
  explicit LazySigns(const c10::TensorImpl& view)
      : complex_(c10::isComplexType(dtype_of(view))),
        even_(view.key_set().has(c10::DispatchKey::Negative)),
        odd_(even_ != view.key_set().has(c10::DispatchKey::Conjugate)) {}

  /// Whether reals at even, and at odd, indices are negated.
  bool even() const {
    return even_;
  }
  bool odd() const {
    return odd_;
  }

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

class StridedReals {
 public:
  struct Dim {
    int64_t size;
    int64_t stride;
  };

  explicit StridedReals(const c10::TensorImpl& tensor) {
    const bool complex = c10::isComplexType(dtype_of(tensor));
    const auto sizes = tensor.sizes();
    const auto strides = tensor.strides();
    const int64_t reals = complex ? 2 : 1;
    for (size_t d = 0; d < sizes.size(); ++d) {
      push(sizes[d], strides[d] * reals);
    }
    if (complex) {
      push(2, 1);
    }
    if (dims_.empty()) {
      push_back(1, 1);
    }
  }

  /// Calls row(offset, stride, n, k) for each run of equally spaced reals among
  /// [from, from + count): the k-th to (k + n)-th of the range start at `offset`.
  template <class Row>
  void for_each_row(int64_t from, int64_t count, const Row& row) const {
    c10::SmallVector<int64_t, 8> index(dims_.size());
    int64_t offset = 0;
    for (int64_t d = rank() - 1, rest = from; d >= 0; --d) {
      index[d] = rest % dims_[d].size;
      rest /= dims_[d].size;
      offset += index[d] * dims_[d].stride;
    }
    const auto [inner_size, inner_stride] = dims_.back();
    for (int64_t done = 0; done < count;) {
      const int64_t n = std::min(inner_size - index.back(), count - done);
      row(offset, inner_stride, n, done);
      done += n;
      index.back() += n;
      offset += n * inner_stride;
      for (int64_t d = rank() - 1; d > 0 && index[d] == dims_[d].size; --d) {
        offset += dims_[d - 1].stride - dims_[d].size * dims_[d].stride;
        index[d] = 0;
        ++index[d - 1];
      }
    }
  }

  /// Dimensions that one stride can walk are one here. Outermost first, at least one.
  c10::ArrayRef<Dim> dims() const {
    return dims_;
  }

 private:
  int64_t rank() const {
    return static_cast<int64_t>(dims_.size());
  }
  void push_back(int64_t size, int64_t stride) {
    dims_.push_back({size, stride});
  }
  // So that rows are long.
  void push(int64_t size, int64_t stride) {
    if (size == 1) {
      return;
    }
    if (!dims_.empty() && dims_.back().stride == size * stride) {
      dims_.back() = {dims_.back().size * size, stride};
    } else {
      push_back(size, stride);
    }
  }

  c10::SmallVector<Dim, 8> dims_;
};

}  // namespace minimize
