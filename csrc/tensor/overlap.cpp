#include "tensor/overlap.h"

#include <c10/util/SmallVector.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

namespace minimize {
namespace {

/// The bytes [begin, end) between a tensor's first and last element.
struct Extent {
  c10::Device device;
  uintptr_t begin;
  uintptr_t end;
};

Extent extent_of(const at::Tensor& tensor) {
  int64_t last = 0;
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    last += (tensor.size(d) - 1) * tensor.stride(d);
  }
  const auto begin = reinterpret_cast<uintptr_t>(tensor.const_data_ptr());
  return {tensor.device(), begin, begin + (last + 1) * tensor.element_size()};
}

bool is_distinct(const at::Tensor& tensor) {
  if (tensor.is_contiguous()) {
    return true;
  }
  c10::SmallVector<std::pair<int64_t, int64_t>, 8> dims;
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    dims.emplace_back(tensor.stride(d), tensor.size(d));
  }
  std::sort(dims.begin(), dims.end());
  int64_t reached = 0;
  for (const auto& [stride, size] : dims) {
    if (size > 1 && stride <= reached) {
      return false;
    }
    reached += (size - 1) * stride;
  }
  return true;
}

}  // namespace

bool are_apart(at::TensorList tensors) {
  std::vector<Extent> extents;
  extents.reserve(tensors.size());
  for (const auto& tensor : tensors) {
    if (tensor.numel() == 0) {
      continue;
    }
    if (!is_distinct(tensor)) {
      return false;
    }
    extents.push_back(extent_of(tensor));
  }
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    const auto key = [](const Extent& e) {
      return std::tuple(e.device.type(), e.device.index(), e.begin);
    };
    return key(a) < key(b);
  });
  return std::adjacent_find(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
           return a.device == b.device && b.begin < a.end;
         }) == extents.end();
}

}  // namespace minimize
