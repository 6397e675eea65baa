#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <vector>

namespace minimize {

/// Memory that a loop over many parameters comes to, fetched before it is there. Thousands of small
/// tensors do not fit a cache, and each is several pointers away.
///
/// What was seen once is only a hint: an address that is none any more is not followed.
class Ahead {
 public:
  explicit Ahead(const std::vector<at::Tensor>& params);

  /// For a loop that is at the i-th parameter and looks at all of it.
  void params(size_t i) const;
  /// The same, and at its gradient.
  void grads(size_t i) const;
  /// For one that lets go of gradients.
  void held_grads(size_t i) const;

 private:
  struct Hint {
    const at::Tensor* param;
    const void* storage;
    const void* autograd;
  };

  std::vector<Hint> hints_;
};

/// Memory for a loop that reads or writes it soon.
inline void fetch(const void* memory) {
  __builtin_prefetch(memory);
}

/// How many turns of a loop are under way at a time.
constexpr size_t kAhead = 8;

}  // namespace minimize
