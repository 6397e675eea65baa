#pragma once

#include "device/kernels.h"
#include "flat/ahead.h"
#include "flat/flat_pass.h"
#include "host/memory.h"
#include "tensor/checks.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace minimize {

/// Whose lane a parameter is in: those with an equal key share one.
struct LaneKey {
  c10::Device device;
  const DeviceKernels* kernels;
  int64_t number = 0;

  bool operator==(const LaneKey&) const = default;
};

/// Finds the key of the i-th distinct parameter; nothing if it crosses on the host.
using FindLane = std::function<std::optional<LaneKey>(size_t i, const at::Tensor& param)>;

/// One lane for each device that this build has kernels for.
std::optional<LaneKey> lane_of_device(size_t i, const at::Tensor& param);

/// Parameters as one flat float64 vector: their tensors in the order given, each
/// in row-major order, a complex element as two reals.
///
/// Every method checks all of its tensors before it reads or writes the first.
class ParameterBridge {
 public:
  /// Of distinct variables: params that are plain, or were looked at. Throws RuntimeError for
  /// memory that was freed, or a device that this build has no kernels for.
  explicit ParameterBridge(
      std::vector<at::Tensor> params, const FindLane& find_lane = lane_of_device);
  // It stays where it is: its parts point at its parameters.
  ParameterBridge(const ParameterBridge&) = delete;
  ParameterBridge& operator=(const ParameterBridge&) = delete;

  /// Reals in the flat vector.
  int64_t numel() const {
    return numel_;
  }
  const std::vector<at::Tensor>& params() const {
    return params_;
  }

  /// Whether any parameter is in a lane.
  bool has_device() const {
    return !lanes_.empty();
  }
  /// Where a vector is that is a tensor on the parameters' own device, which must be one.
  Memory tensor_memory() const;
  c10::Device device() const {
    return specs_[0].device;
  }
  /// What a pool of vectors with Memory::kPooled gets its memory from.
  FlatSource source() const;

  /// The crossings, checked and ready to be copied: gather the first three,
  /// scatter the other two. An undefined tensor, or gradient, counts as zeros.
  FlatPass reading_params() const;
  FlatPass reading_grads() const;
  FlatPass reading(at::TensorList tensors) const;
  FlatPass writing_params() const;
  FlatPass writing_grads() const;

  /// Tensors of the parameters' shapes into out[0, numel); true if all is finite.
  bool pack(at::TensorList tensors, double* out, Memory memory) const {
    return reading(tensors).gather(out, memory).finite;
  }
  /// New contiguous tensors of the parameters' shapes, dtypes and devices.
  std::vector<at::Tensor> unpack(const double* x, Memory memory) const;

  /// Both for several vectors, one after the other in memory, and for each parameter one
  /// stack of as many tensors. On a device many are one table, one transfer and one wait.
  bool pack_rows(at::TensorList stacks, int64_t rows, double* out, Memory memory) const;
  std::vector<at::Tensor> unpack_rows(const double* x, int64_t rows, Memory memory) const;

  bool has_grads() const;
  void clear_grads() const;

 private:
  bool has_one_lane() const {
    return lanes_.size() == 1 && reals_in_lanes_ == numel_;
  }
  DeviceLane& lane(const LaneKey& key);
  int64_t rows_at_once(Memory memory) const;
  void check_one_each(at::TensorList tensors) const;
  bool takes_columns(int64_t rows, Memory memory) const;
  template <class Copy>
  bool for_each_columns(int64_t rows, const Copy& copy) const;
  void read_fitting(const char* what, size_t i, const at::Tensor& tensor, FlatPass& pass) const;

  const std::vector<at::Tensor> params_;  // distinct
  const Ahead ahead_;                     // of params_
  std::vector<Spec> specs_;               // of params_
  std::vector<DeviceLane*> lane_of_;      // of params_, null on the host
  std::vector<LaneKey> keys_;
  std::vector<std::unique_ptr<DeviceLane>> lanes_;  // of keys_
  int64_t numel_ = 0;
  int64_t reals_in_lanes_ = 0;
};

}  // namespace minimize
