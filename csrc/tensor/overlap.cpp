#include "tensor/overlap.h"

#include "tensor/strided.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <tuple>
#include <vector>

namespace minimize {
namespace {

using Pair = std::pair<size_t, size_t>;

/// The bytes [begin, end) between a tensor's first and last element.
struct Extent {
  c10::Device device;
  uintptr_t begin;
  uintptr_t end;
  size_t index;
};

Extent extent_of(const at::Tensor& tensor, size_t index) {
  int64_t last = 0;
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    last += (tensor.size(d) - 1) * tensor.stride(d);
  }
  const auto begin = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  return {tensor.device(), begin, begin + (last + 1) * tensor.element_size(), index};
}

/// Which units of memory, each `unit` bytes, are taken; from one address up.
class Bitmap {
 public:
  Bitmap(uintptr_t begin, uintptr_t end, uintptr_t unit)
      : begin_(begin), unit_(unit), taken_((end - begin + unit - 1) / unit) {}

  /// Takes a tensor's elements; false if one of them was taken already.
  bool take(const at::Tensor& tensor) {
    const auto base = reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) - begin_;
    const auto real =
        static_cast<int64_t>(c10::elementSize(c10::toRealValueType(tensor.scalar_type())));
    const int64_t reals = tensor.nbytes() / real;
    bool free = true;
    StridedReals(*tensor.unsafeGetTensorImpl())
        .for_each_row(0, reals, [&](int64_t offset, int64_t stride, int64_t n, int64_t) {
          for (int64_t i = 0; i < n; ++i) {
            const auto first = (base + (offset + i * stride) * real) / unit_;
            for (uintptr_t u = first; u < first + real / unit_; ++u) {
              free &= !taken_[u];
              taken_[u] = true;
            }
          }
        });
    return free;
  }

 private:
  uintptr_t begin_;
  uintptr_t unit_;
  std::vector<bool> taken_;
};

/// The exact answer for tensors whose extents overlap one another in a chain.
std::optional<Pair> find_overlap_among(at::TensorList tensors, c10::ArrayRef<Extent> group) {
  uintptr_t end = 0;
  uintptr_t unit = 0;
  for (const auto& extent : group) {
    const auto& tensor = tensors[extent.index];
    end = std::max(end, extent.end);
    unit = std::gcd(unit, c10::elementSize(c10::toRealValueType(tensor.scalar_type())));
    unit = std::gcd(unit, extent.begin - group[0].begin);
  }
  Bitmap all(group[0].begin, end, unit);
  for (size_t later = 0; later < group.size(); ++later) {
    if (all.take(tensors[group[later].index])) {
      continue;
    }
    for (size_t earlier = 0; earlier < later; ++earlier) {
      Bitmap two(group[0].begin, end, unit);
      two.take(tensors[group[earlier].index]);
      if (!two.take(tensors[group[later].index])) {
        return std::minmax(group[earlier].index, group[later].index);
      }
    }
    return Pair{group[later].index, group[later].index};
  }
  return std::nullopt;
}

}  // namespace

std::optional<Pair> find_overlap(at::TensorList tensors) {
  std::vector<Extent> extents;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].numel() > 0) {
      extents.push_back(extent_of(tensors[i], i));
    }
  }
  const auto key = [](const Extent& e) {
    return std::tuple(e.device.type(), e.device.index(), e.begin, e.index);
  };
  std::sort(extents.begin(), extents.end(), [&](const Extent& a, const Extent& b) {
    return key(a) < key(b);
  });
  for (size_t first = 0; first < extents.size();) {
    uintptr_t end = extents[first].end;
    size_t past = first + 1;
    while (past < extents.size() && extents[past].device == extents[first].device &&
           extents[past].begin < end) {
      end = std::max(end, extents[past++].end);
    }
    const bool alone = past == first + 1;
    if (!alone || !tensors[extents[first].index].is_non_overlapping_and_dense()) {
      const auto group = c10::ArrayRef<Extent>(extents).slice(first, past - first);
      if (const auto found = find_overlap_among(tensors, group)) {
        return found;
      }
    }
    first = past;
  }
  return std::nullopt;
}

}  // namespace minimize
