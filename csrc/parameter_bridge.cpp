#include "parameter_bridge.h"

#include "overlap.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <unordered_set>

namespace minimize {
namespace {

constexpr auto kDtypes = "float16, bfloat16, float32, float64, complex64 or complex128";

bool is_supported(c10::ScalarType dtype) {
  switch (dtype) {
    case c10::ScalarType::Half:
    case c10::ScalarType::BFloat16:
    case c10::ScalarType::Float:
    case c10::ScalarType::Double:
    case c10::ScalarType::ComplexFloat:
    case c10::ScalarType::ComplexDouble:
      return true;
    default:
      return false;
  }
}

std::string name(c10::ScalarType dtype) {
  return std::string(c10::getDtypeNames(dtype).first);
}

/// Whether the tensor's elements are where its data pointer and strides say.
bool has_memory(const at::Tensor& tensor) {
  constexpr c10::DispatchKeySet elsewhere({c10::DispatchKey::Python,
                                           c10::DispatchKey::ZeroTensor,
                                           c10::DispatchKey::FuncTorchBatched,
                                           c10::DispatchKey::FuncTorchGradWrapper,
                                           c10::DispatchKey::Functionalize});
  return tensor.layout() == c10::kStrided && !tensor.is_meta() &&
         !tensor.key_set().has_any(elsewhere);
}

void check_can_be_variable(size_t i, const at::Tensor& param) {
  TORCH_CHECK_TYPE(is_supported(param.scalar_type()),
                   "parameter ",
                   i,
                   " has dtype ",
                   name(param.scalar_type()),
                   "; expected ",
                   kDtypes,
                   ". Leave it out of the list, or convert it.");
  TORCH_CHECK_VALUE(!param.is_meta(),
                    "parameter ",
                    i,
                    " is on the meta device and has no values; materialise it first.");
  TORCH_CHECK_VALUE(param.layout() == c10::kStrided,
                    "parameter ",
                    i,
                    " is not strided; expected a dense tensor (see Tensor.to_dense).");
  TORCH_CHECK_VALUE(
      has_memory(param) && !param.is_inference(),
      "parameter ",
      i,
      " is a tensor without ordinary memory of its own (a tensor subclass such as DTensor, "
      "an inference tensor, or inside a function transform); expected a plain tensor.");
  TORCH_CHECK_VALUE(
      param.is_leaf(),
      "parameter ",
      i,
      " is not a leaf tensor; pass the tensor it was computed from, or its detach().");
}

}  // namespace

ParameterBridge::ParameterBridge(const std::vector<at::Tensor>& params) {
  std::unordered_set<const c10::TensorImpl*> seen;
  for (const auto& param : params) {
    if (seen.insert(param.unsafeGetTensorImpl()).second) {
      params_.push_back(param);
    }
  }
  TORCH_CHECK_VALUE(!params_.empty(), "expected at least one parameter, got an empty list.");
  specs_.reserve(params_.size());
  for (size_t i = 0; i < params_.size(); ++i) {
    const auto& param = params_[i];
    check_can_be_variable(i, param);
    const int64_t reals = param.numel() * (param.is_complex() ? 2 : 1);
    const auto sizes = param.sizes();
    specs_.push_back({{sizes.begin(), sizes.end()}, param.device(), param.scalar_type(), reals});
    numel_ += reals;
  }
  if (const auto pair = find_overlap(params_)) {
    const auto [i, j] = *pair;
    TORCH_CHECK_VALUE(i != j,
                      "parameter ",
                      i,
                      " of shape ",
                      params_[i].sizes(),
                      " and strides ",
                      params_[i].strides(),
                      " overlaps itself in memory; pass a tensor whose elements are distinct (see "
                      "Tensor.clone).");
    TORCH_CHECK_VALUE(false,
                      "parameters ",
                      i,
                      " and ",
                      j,
                      " overlap in memory, so that they are not independent variables; "
                      "pass only one of them, or the tensor that both are views of.");
  }
}

void ParameterBridge::check_param(size_t i) const {
  const auto& param = params_[i];
  const auto& spec = specs_[i];
  TORCH_CHECK(param.sizes() == c10::IntArrayRef(spec.sizes),
              "parameter ",
              i,
              " had shape ",
              c10::IntArrayRef(spec.sizes),
              " when the bridge was made and has ",
              param.sizes(),
              " now; make a new optimizer after resizing a parameter.");
  TORCH_CHECK(
      param.scalar_type() == spec.dtype && param.device() == spec.device && has_memory(param),
      "parameter ",
      i,
      " was a plain ",
      name(spec.dtype),
      " tensor on ",
      spec.device,
      " when the bridge was made and is ",
      name(param.scalar_type()),
      " on ",
      param.device(),
      " now; make a new optimizer after converting a parameter.");
}

void ParameterBridge::check_fits(size_t i, const at::Tensor& tensor, const char* what) const {
  const auto& spec = specs_[i];
  TORCH_CHECK_VALUE(tensor.sizes() == c10::IntArrayRef(spec.sizes),
                    "the ",
                    what,
                    " of parameter ",
                    i,
                    " has shape ",
                    tensor.sizes(),
                    "; expected the parameter's ",
                    c10::IntArrayRef(spec.sizes),
                    ".");
  TORCH_CHECK_VALUE(tensor.device() == spec.device,
                    "the ",
                    what,
                    " of parameter ",
                    i,
                    " is on ",
                    tensor.device(),
                    "; expected the parameter's ",
                    spec.device,
                    ".");
  TORCH_CHECK_TYPE(
      is_supported(tensor.scalar_type()) && tensor.is_complex() == c10::isComplexType(spec.dtype),
      "the ",
      what,
      " of parameter ",
      i,
      " has dtype ",
      name(tensor.scalar_type()),
      "; expected the parameter's ",
      name(spec.dtype),
      ".");
}

void ParameterBridge::read_fitting(size_t i,
                                   const at::Tensor& tensor,
                                   const char* what,
                                   FlatPass& pass) const {
  if (!tensor.defined()) {
    pass.zeros(specs_[i].reals);
    return;
  }
  check_fits(i, tensor, what);
  if (has_memory(tensor)) {
    pass.read(tensor);
    return;
  }
  const at::NoGradGuard no_grad;
  if (tensor._is_zerotensor()) {
    pass.zeros(specs_[i].reals);
    return;
  }
  TORCH_CHECK_VALUE(tensor.layout() != c10::kStrided,
                    "the ",
                    what,
                    " of parameter ",
                    i,
                    " is a tensor without ordinary memory of its own; expected a plain tensor.");
  pass.read_owned(tensor.to_dense());
}

FlatPass ParameterBridge::reading_params() const {
  FlatPass pass(numel_, params_.size());
  for (size_t i = 0; i < params_.size(); ++i) {
    check_param(i);
    pass.read(params_[i]);
  }
  return pass;
}

FlatPass ParameterBridge::reading_grads() const {
  FlatPass pass(numel_, params_.size());
  for (size_t i = 0; i < params_.size(); ++i) {
    check_param(i);
    read_fitting(i, params_[i].unsafeGetTensorImpl()->grad(), "gradient", pass);
  }
  return pass;
}

FlatPass ParameterBridge::reading(at::TensorList tensors) const {
  TORCH_CHECK_VALUE(tensors.size() == params_.size(),
                    "expected one tensor for each of the ",
                    params_.size(),
                    " distinct parameters, got ",
                    tensors.size(),
                    ".");
  FlatPass pass(numel_, params_.size());
  for (size_t i = 0; i < params_.size(); ++i) {
    read_fitting(i, tensors[i], "tensor", pass);
  }
  return pass;
}

FlatPass ParameterBridge::writing_params() const {
  FlatPass pass(numel_, params_.size());
  for (size_t i = 0; i < params_.size(); ++i) {
    check_param(i);
  }
  for (const auto& param : params_) {
    pass.write(param);
  }
  return pass;
}

FlatPass ParameterBridge::writing_grads() const {
  std::vector<at::Tensor> kept;
  const auto keeps = [&](size_t i, const at::Tensor& grad) {
    return grad.defined() && has_memory(grad) && !grad.requires_grad() &&
           grad.sizes() == c10::IntArrayRef(specs_[i].sizes) && grad.device() == specs_[i].device &&
           grad.scalar_type() == specs_[i].dtype;
  };
  for (size_t i = 0; i < params_.size(); ++i) {
    check_param(i);
    const auto& grad = params_[i].unsafeGetTensorImpl()->grad();
    if (keeps(i, grad)) {
      kept.push_back(grad);
    }
  }
  // A gradient expanded over itself, or shared by two parameters, cannot hold
  // the values of both.
  const bool distinct = !find_overlap(kept);
  FlatPass pass(numel_, params_.size());
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < params_.size(); ++i) {
    auto& grad = params_[i].unsafeGetTensorImpl()->mutable_grad();
    if (!distinct || !keeps(i, grad)) {
      grad = at::empty_like(params_[i]);
    }
    pass.write(grad);
  }
  return pass;
}

std::vector<at::Tensor> ParameterBridge::unpack(const double* x) const {
  FlatPass pass(numel_, specs_.size());
  std::vector<at::Tensor> tensors;
  tensors.reserve(specs_.size());
  for (const auto& spec : specs_) {
    tensors.push_back(at::empty(spec.sizes, at::device(spec.device).dtype(spec.dtype)));
    pass.write(tensors.back());
  }
  pass.scatter(x);
  return tensors;
}

bool ParameterBridge::has_grads() const {
  return std::any_of(params_.begin(), params_.end(), [](const at::Tensor& param) {
    return param.unsafeGetTensorImpl()->grad().defined();
  });
}

void ParameterBridge::clear_grads() const {
  for (const auto& param : params_) {
    param.unsafeGetTensorImpl()->mutable_grad().reset();
  }
}

}  // namespace minimize
