#pragma once

// Row-major order over a strided tensor, in reals: a complex element is two of them.

#include <c10/core/TensorImpl.h>
#include <c10/util/SmallVector.h>

#include <algorithm>
#include <cstdint>

namespace minimize {

class StridedReals {
 public:
  explicit StridedReals(const c10::TensorImpl& tensor) {
    const bool complex = c10::isComplexType(c10::typeMetaToScalarType(tensor.dtype()));
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

 private:
  struct Dim {
    int64_t size;
    int64_t stride;
  };

  int64_t rank() const {
    return static_cast<int64_t>(dims_.size());
  }
  void push_back(int64_t size, int64_t stride) {
    dims_.push_back({size, stride});
  }
  // Dimensions that one stride can walk become one, so that rows are long.
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
