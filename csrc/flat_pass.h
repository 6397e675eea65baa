#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace minimize {

/// Below this many reals a pass is serial and keeps the GIL: waking threads, or
/// waiting for the GIL again, would cost more than the pass itself.
constexpr int64_t kSerialReals = 1 << 18;

/// One crossing between tensors and the flat float64 vector: pieces of memory in
/// flat order, collected first, then copied with no further checks.
///
/// Work is cut by elements of the flat vector, not by tensors. Memory on another
/// device goes through a tensor on the host, which is the slow but general route.
class FlatPass {
 public:
  /// `numel` reals in at most `count` pieces.
  FlatPass(int64_t numel, size_t count);

  /// Appends a strided tensor on any device, to be read.
  void read(const at::Tensor& tensor);
  /// The same for a temporary, which the pass keeps.
  void read_owned(at::Tensor tensor);
  /// Appends `numel` zeros, to be read.
  void zeros(int64_t numel);
  /// Appends a strided tensor on any device, to be written.
  void write(const at::Tensor& tensor);

  /// Tensors into out[0, numel); true if every value is finite.
  bool gather(double* out) const;
  /// x[0, numel) into the tensors, whose version counters are bumped.
  void scatter(const double* x) const;

 private:
  struct Piece {
    int64_t begin;                // flat index of its first real
    void* data;                   // null: zeros
    const c10::TensorImpl* view;  // null: the memory is in flat order itself
    c10::ScalarType dtype;        // of a real
  };
  struct Staged {
    at::Tensor target;
    at::Tensor host;
  };

  void append(const c10::TensorImpl& host, const void* memory);
  bool shares_memory_with(const double* x) const;
  template <class Copy>
  void for_each_run(int64_t begin, int64_t end, const Copy& copy) const;

  int64_t numel_;
  int64_t end_ = 0;
  std::vector<Piece> pieces_;
  std::vector<c10::TensorImpl*> written_;
  std::vector<at::Tensor> held_;  // what must outlive a pass without the GIL
  std::vector<Staged> staged_;
};

}  // namespace minimize
