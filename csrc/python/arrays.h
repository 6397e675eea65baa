#pragma once

#include <c10/core/Allocator.h>
#include <pybind11/numpy.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace minimize {

namespace py = pybind11;

/// Doubles past the end of each vector of a pool: what a device sends along with it.
constexpr int64_t kTail = 2;

/// Memory of the host in huge pages where it is large.
c10::DataPtr allocate_host(size_t bytes);

/// Where a pool gets memory, and how much of it the pool itself keeps for reuse.
struct FlatSource {
  c10::DataPtr (*allocate)(size_t bytes) = allocate_host;
  // What a solver holds at one time is small: an old gradient, a new one, a trial
  // point. More than these few waiting would be memory that nothing asks for again.
  size_t kept = 4;
};

/// Vectors of one length, recycled. A first touch of fresh memory costs several
/// times the pass that fills it (page faults), so freed vectors are kept.
///
/// Note [fresh gradients]: a vector returns here only when the last reference to
/// its array, or to any view of it, is dropped. The pool lives as long as its
/// bridge and the arrays it handed out.
class FlatPool : public std::enable_shared_from_this<FlatPool> {
 public:
  explicit FlatPool(int64_t numel, const FlatSource& source = {})
      : numel_(numel), source_(source) {}
  FlatPool(const FlatPool&) = delete;
  FlatPool& operator=(const FlatPool&) = delete;

  /// A vector that nothing else refers to, its values and tail unspecified.
  py::array_t<double> new_array();
  /// Frees the vectors that wait for reuse.
  void release();

 private:
  struct Block {
    c10::DataPtr memory;
    std::shared_ptr<FlatPool> pool;  // while handed out
  };

  std::unique_ptr<Block> take();
  static void give_back(std::unique_ptr<Block> block);

  const int64_t numel_;
  const FlatSource source_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Block>> free_;
};

/// A caller's vector, read in place where its memory allows, copied otherwise.
class FlatInput {
 public:
  /// Throws TypeError or ValueError unless x is a float64 array of shape (numel,).
  FlatInput(py::handle x, int64_t numel);
  const double* data() const {
    return data_;
  }

 private:
  py::array array_;
  const double* data_;
};

/// Whether two float64 vectors have the same length and the same bits.
bool same_values(py::handle a, py::handle b);

}  // namespace minimize
