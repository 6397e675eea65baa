#pragma once

#include "device/share.h"
#include "host/memory.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace minimize {

/// Where the memory of a vector is: on the host; there too, from the pool that fits the
/// bridge, so that a device writes it and its tail directly; or on the one device that has
/// all tensors.
enum class Memory { kHost, kPooled, kDevice };

/// One crossing between tensors and the flat float64 vector: pieces of memory in
/// flat order, collected first, then copied with no further checks.
///
/// Work is cut by elements of the flat vector, not by tensors. A tensor whose parameter
/// has a lane crosses with the others of its device, in one transfer. One on a device
/// without lanes goes through a tensor on the host, which is the slow but general route.
class FlatPass {
 public:
  /// `numel` reals in at most `count` pieces; whether the same come again, as those of parameters
  /// do.
  FlatPass(int64_t numel, size_t count, bool comes_again = true);

  /// Appends a strided tensor, to be read. `lane` is that of its parameter, or null.
  void read(const at::Tensor& tensor, DeviceLane* lane);
  /// The same for a temporary, which the pass keeps.
  void read_owned(at::Tensor tensor, DeviceLane* lane);
  /// Appends `numel` zeros, to be read.
  void zeros(int64_t numel, DeviceLane* lane);
  /// Appends a strided tensor, to be written.
  void write(const at::Tensor& tensor, DeviceLane* lane);

  /// Sends a real scalar along if it is on a device, and any device sends something; after the
  /// last read().
  bool carry(const at::Tensor& scalar);
  /// Its value, after gather().
  double carried() const;
  /// Seconds that gather() waited for what devices had to do before it.
  double waited() const {
    return waited_;
  }

  /// What came of gather().
  struct Gathered {
    bool finite;     // every value is
    double largest;  // max |v_i| of finite ones, or NaN where a device has not said
  };
  /// Tensors into out[0, numel).
  Gathered gather(double* out, Memory memory = Memory::kHost);
  /// The same where nobody asks for that: on a device later, in the order of its current
  /// stream.
  void fill(double* out, Memory memory);
  /// x[0, numel) into the tensors, whose version counters are bumped. On a device they
  /// are written later, in the order of its current stream; where it has all of them a part of
  /// the vector is on its way while the next is copied.
  void scatter(const double* x, Memory memory = Memory::kHost);

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

  /// A piece whose memory is host memory that a device's share goes through.
  struct Crossing {
    size_t piece;
    size_t share;
    int64_t begin;  // in the share
  };

  void append(const c10::TensorImpl& host, const void* memory);
  DeviceShare& append(DeviceLane& lane, int64_t reals);
  const DeviceShare* carrier_of(const at::Tensor& scalar);
  bool is_queued(const at::Tensor& scalar) const;
  void point_to_staging();
  bool is_of_one_share() const;
  DeviceShare& only_share();
  Gathered gather_on_host(double* out) const;
  void scatter_on_host(const double* x, int64_t begin, int64_t end) const;
  void copy_staged() const;
  void scatter_on_device(const double* x);
  bool shares_memory_with(const double* x, Memory memory) const;
  int64_t grain() const;
  template <class Copy>
  void for_each_run(int64_t begin, int64_t end, const Copy& copy) const;

  int64_t numel_;
  bool comes_again_;
  int64_t end_ = 0;
  std::vector<Piece> pieces_;
  std::vector<c10::TensorImpl*> written_;
  std::vector<at::Tensor> held_;  // what must outlive a pass without the GIL
  std::vector<Staged> staged_;
  std::vector<DeviceShare> shares_;
  std::vector<Crossing> crossings_;
  const DeviceShare* carrier_ = nullptr;
  double waited_ = 0.0;
};

}  // namespace minimize
