#pragma once

#include <c10/core/Allocator.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace minimize {

/// Below this many reals a pass over a vector is serial and keeps the GIL: waking threads,
/// or waiting for the GIL again, would cost more than the pass itself.
constexpr int64_t kSerialReals = 1 << 18;

/// Doubles past the end of each vector of a pool: what a device sends along with it.
constexpr int64_t kTail = 2;

/// Whether a vector's tail is in the same block. Pinned memory comes in blocks of a power of two
/// bytes, so that for a large vector which fills one the tail would take a second as large.
constexpr bool has_tail_beside(int64_t reals) {
  constexpr int64_t large = 1 << 16;
  const auto block = [](int64_t n) { return std::bit_ceil(static_cast<uint64_t>(n)); };
  return reals < large || block(reals) == block(reals + kTail);
}

constexpr size_t bytes_with_tail(int64_t reals) {
  return static_cast<size_t>(reals + (has_tail_beside(reals) ? kTail : 0)) * sizeof(double);
}

/// Memory of the host in huge pages where it is large.
c10::DataPtr allocate_host(size_t bytes);

/// Where a pool gets memory, and how much of it the pool itself keeps for reuse.
struct FlatSource {
  c10::DataPtr (*allocate)(size_t bytes) = allocate_host;
  // What a solver holds at one time is small: an old gradient, a new one, a trial
  // point. More than these few waiting would be memory that nothing asks for again.
  size_t kept = 4;
};

/// Memory for vectors of one length, recycled. A first touch of fresh memory costs several
/// times the pass that fills it (page faults), so freed vectors are kept.
///
/// Note [fresh gradients]: a vector returns here only when the last reference to its
/// memory, by whichever array, tensor or view, is dropped. The pool lives as long as its
/// bridge and the vectors that it handed out.
class FlatPool : public std::enable_shared_from_this<FlatPool> {
 public:
  explicit FlatPool(int64_t numel, const FlatSource& source = {})
      : numel_(numel), source_(source) {}
  FlatPool(const FlatPool&) = delete;
  FlatPool& operator=(const FlatPool&) = delete;

  /// Memory of bytes_with_tail() that nothing else refers to, the values unspecified.
  c10::DataPtr take();
  /// Frees the vectors that wait for reuse.
  void release();

 private:
  struct Block {
    c10::DataPtr memory;
    std::shared_ptr<FlatPool> pool;  // while handed out
  };

  std::unique_ptr<Block> find();
  static void give_back(void* block);

  const int64_t numel_;
  const FlatSource source_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Block>> free_;
};

}  // namespace minimize
