#include "flat/parameter_bridge.h"

#include "flat/small_rows.h"
#include "tensor/overlap.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

namespace minimize {
namespace {

const at::Tensor& grad_of(const at::Tensor& param) {
  return param.unsafeGetTensorImpl()->grad();
}

}  // namespace

std::optional<LaneKey> lane_of_device(size_t, const at::Tensor& param) {
  const auto* const kernels = find_device_kernels(param.device().type());
  return kernels == nullptr ? std::nullopt : std::optional<LaneKey>({param.device(), kernels});
}

ParameterBridge::ParameterBridge(std::vector<at::Tensor> params, const FindLane& find_lane)
    : params_(std::move(params)), ahead_(params_) {
  TORCH_INTERNAL_ASSERT(!params_.empty());
  for (size_t i = 0; i < params_.size(); ++i) {
    check_is_built_for(i, params_[i]);
    specs_.emplace_back(params_[i]);
    check_unchanged(i, params_[i], specs_[i]);
    numel_ += specs_[i].reals;
    const auto key = find_lane(i, params_[i]);
    lane_of_.push_back(key ? &lane(*key) : nullptr);
    if (key) {
      lane_of_.back()->grow(specs_[i].reals);
      reals_in_lanes_ += specs_[i].reals;
    }
  }
}

DeviceLane& ParameterBridge::lane(const LaneKey& key) {
  const auto found = std::find(keys_.begin(), keys_.end(), key);
  if (found != keys_.end()) {
    return *lanes_[found - keys_.begin()];
  }
  keys_.push_back(key);
  lanes_.push_back(std::make_unique<DeviceLane>(key.device, *key.kernels));
  return *lanes_.back();
}

Memory ParameterBridge::tensor_memory() const {
  if (has_one_lane()) {
    return Memory::kDevice;
  }
  TORCH_CHECK_VALUE(
      device().is_cpu(), "the parameters are on ", device(),
      ", for which this build has no kernels; expected the CPU, or a CUDA device.");
  return Memory::kPooled;
}

FlatSource ParameterBridge::source() const {
  if (has_one_lane()) {
    // A vector may be dropped with a copy into it under way, after an error, which the
    // memory's own allocator is told and the pool is not.
    return {lanes_[0]->kernels().host_memory, 0};
  }
  return {};
}

void ParameterBridge::read_fitting(
    const char* what, size_t i, const at::Tensor& tensor, FlatPass& pass) const {
  if (!tensor.defined()) {
    pass.zeros(specs_[i].reals, lane_of_[i]);
    return;
  }
  check_fits(what, i, tensor, specs_[i]);
  if (tensor.layout() != c10::kStrided) {
    const at::NoGradGuard no_grad;
    pass.read_owned(tensor.to_dense(), lane_of_[i]);
  } else if (tensor._is_zerotensor()) {
    pass.zeros(specs_[i].reals, lane_of_[i]);
  } else {
    pass.read(tensor, lane_of_[i]);
  }
}

void ParameterBridge::check_one_each(at::TensorList tensors) const {
  TORCH_CHECK_VALUE(
      tensors.size() == params_.size(), "expected one tensor for each of the ", params_.size(),
      " distinct parameters, got ", tensors.size(), ".");
}

FlatPass ParameterBridge::reading_params() const {
  FlatPass pass(numel_, params_.size());
  for (size_t i = 0; i < params_.size(); ++i) {
    ahead_.params(i);
    check_unchanged(i, params_[i], specs_[i]);
    pass.read(params_[i], lane_of_[i]);
  }
  return pass;
}

FlatPass ParameterBridge::reading_grads() const {
  FlatPass pass(numel_, params_.size());
  for (size_t i = 0; i < params_.size(); ++i) {
    ahead_.grads(i);
    check_unchanged(i, params_[i], specs_[i]);
    read_fitting("gradient", i, grad_of(params_[i]), pass);
  }
  return pass;
}

FlatPass ParameterBridge::reading(at::TensorList tensors) const {
  check_one_each(tensors);
  FlatPass pass(numel_, params_.size());
  for (size_t i = 0; i < params_.size(); ++i) {
    read_fitting("tensor", i, tensors[i], pass);
  }
  return pass;
}

FlatPass ParameterBridge::writing_params() const {
  FlatPass pass(numel_, params_.size());
  for (size_t i = 0; i < params_.size(); ++i) {
    ahead_.params(i);
    check_unchanged(i, params_[i], specs_[i]);
    pass.write(params_[i], lane_of_[i]);
  }
  return pass;
}

FlatPass ParameterBridge::writing_grads() const {
  const auto takes_values = [&](size_t i, const at::Tensor& grad) {
    return grad.defined() && !grad.requires_grad() &&
           specs_[i].is_met_by(*grad.unsafeGetTensorImpl());
  };
  std::vector<at::Tensor> kept;
  for (size_t i = 0; i < params_.size(); ++i) {
    check_unchanged(i, params_[i], specs_[i]);
    if (takes_values(i, grad_of(params_[i]))) {
      kept.push_back(grad_of(params_[i]));
    }
  }
  // A gradient expanded over itself, or shared by two parameters, has no room for
  // the values of all.
  const bool distinct = are_apart(kept);
  FlatPass pass(numel_, params_.size());
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < params_.size(); ++i) {
    auto& grad = params_[i].unsafeGetTensorImpl()->mutable_grad();
    if (!distinct || !takes_values(i, grad)) {
      grad = at::empty_like(params_[i]);
    }
    pass.write(grad, lane_of_[i]);
  }
  return pass;
}

std::vector<at::Tensor> ParameterBridge::unpack(const double* x, Memory memory) const {
  FlatPass pass(numel_, specs_.size());
  std::vector<at::Tensor> tensors;
  tensors.reserve(specs_.size());
  for (size_t i = 0; i < specs_.size(); ++i) {
    const auto& spec = specs_[i];
    tensors.push_back(at::empty(spec.sizes, at::device(spec.device).dtype(spec.dtype)));
    pass.write(tensors.back(), lane_of_[i]);
  }
  pass.scatter(x, memory);
  return tensors;
}

bool ParameterBridge::pack_rows(
    at::TensorList stacks, int64_t rows, double* out, Memory memory) const {
  check_one_each(stacks);
  bool finite = true;
  if (takes_columns(rows, memory)) {
    const auto copy = [&](size_t i, const Columns& columns) {
      return copy_stack_to(stacks[i], specs_[i], columns, out, finite);
    };
    if (for_each_columns(rows, copy)) {
      return finite;
    }
    finite = true;
  }
  const int64_t at_once = rows_at_once(memory);
  for (int64_t first = 0; first < rows; first += at_once) {
    const int64_t count = std::min(at_once, rows - first);
    FlatPass pass(count * numel_, count * stacks.size(), /*comes_again=*/false);
    std::vector<at::Tensor> tensors;  // those that the pass reads
    tensors.reserve(count * stacks.size());
    for (int64_t row = first; row < first + count; ++row) {
      for (size_t i = 0; i < stacks.size(); ++i) {
        tensors.push_back(stacks[i].defined() ? stacks[i].select(0, row) : stacks[i]);
        read_fitting("tensor", i, tensors.back(), pass);
      }
    }
    finite = pass.gather(out + first * numel_, memory).finite && finite;
  }
  return finite;
}

std::vector<at::Tensor> ParameterBridge::unpack_rows(
    const double* x, int64_t rows, Memory memory) const {
  std::vector<at::Tensor> stacks;
  for (const auto& spec : specs_) {
    c10::SmallVector<int64_t, 5> sizes(spec.sizes.begin(), spec.sizes.end());
    sizes.insert(sizes.begin(), rows);
    stacks.push_back(at::empty(sizes, at::device(spec.device).dtype(spec.dtype)));
  }
  if (takes_columns(rows, memory)) {
    const auto copy = [&](size_t i, const Columns& columns) {
      return copy_stack_from(x, columns, specs_[i], stacks[i]);
    };
    if (for_each_columns(rows, copy)) {
      return stacks;
    }
  }
  const int64_t at_once = rows_at_once(memory);
  for (int64_t first = 0; first < rows; first += at_once) {
    const int64_t count = std::min(at_once, rows - first);
    FlatPass pass(count * numel_, count * stacks.size(), /*comes_again=*/false);
    std::vector<at::Tensor> tensors;  // those that the pass writes
    tensors.reserve(count * stacks.size());
    for (int64_t row = first; row < first + count; ++row) {
      for (size_t i = 0; i < stacks.size(); ++i) {
        tensors.push_back(stacks[i].select(0, row));
        pass.write(tensors.back(), lane_of_[i]);
      }
    }
    pass.scatter(x + first * numel_, memory);
  }
  return stacks;
}

/// Whether rows are few and on the host, where nothing is to be sent in one go.
bool ParameterBridge::takes_columns(int64_t rows, Memory memory) const {
  return memory == Memory::kHost && !has_device() && rows * numel_ < kSerialReals;
}

/// Whether copy(i, columns) of each parameter is true; the others are not asked for then.
template <class Copy>
bool ParameterBridge::for_each_columns(int64_t rows, const Copy& copy) const {
  int64_t begin = 0;
  for (size_t i = 0; i < specs_.size(); begin += specs_[i++].reals) {
    if (!copy(i, Columns{begin, numel_, rows})) {
      return false;
    }
  }
  return true;
}

/// As many as make a slab of memory that a device reads, and any number where vectors stay there,
/// but for how long their table is.
int64_t ParameterBridge::rows_at_once(Memory memory) const {
  constexpr int64_t slab = 1 << 20, pieces = 1 << 20;
  const auto count = static_cast<int64_t>(specs_.size());
  const int64_t by_memory =
      memory == Memory::kDevice ? pieces : slab / std::max<int64_t>(1, numel_);
  return std::max<int64_t>(1, std::min(by_memory, pieces / count));
}

bool ParameterBridge::has_grads() const {
  return std::any_of(params_.begin(), params_.end(), [](const at::Tensor& param) {
    return grad_of(param).defined();
  });
}

void ParameterBridge::clear_grads() const {
  for (size_t i = 0; i < params_.size(); ++i) {
    ahead_.held_grads(i);
    params_[i].unsafeGetTensorImpl()->mutable_grad().reset();
  }
}

}  // namespace minimize
