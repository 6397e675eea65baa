#include "tensor/checks.h"

#include "tensor/overlap.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <string>

namespace minimize {
namespace {

/// Tensors whose elements are not in memory of their own.
constexpr c10::DispatchKeySet kElsewhere(
    {c10::DispatchKey::Python, c10::DispatchKey::ZeroTensor, c10::DispatchKey::NestedTensor,
     c10::DispatchKey::FuncTorchBatched, c10::DispatchKey::FuncTorchGradWrapper,
     c10::DispatchKey::Functionalize});

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

bool is_plain(const c10::TensorImpl& tensor) {
  return tensor.layout() == c10::kStrided && !tensor.key_set().has_any(kElsewhere);
}

/// Whether the storage reaches as far as the elements do; it may have been freed. Nothing is
/// known of devices whose storages need not hold an address.
bool has_memory(const c10::TensorImpl& tensor) {
  const auto type = tensor.device_type();
  const bool by_address = type == c10::DeviceType::CPU || type == c10::DeviceType::CUDA;
  if (!by_address || tensor.numel() == 0) {
    return true;
  }
  int64_t past = tensor.storage_offset() + 1;
  if (tensor.is_contiguous()) {
    past += tensor.numel() - 1;
  } else {
    const auto sizes = tensor.sizes();
    const auto strides = tensor.strides();
    for (size_t d = 0; d < sizes.size(); ++d) {
      past += (sizes[d] - 1) * strides[d];
    }
  }
  const auto& storage = tensor.unsafe_storage();
  return storage && storage.data() != nullptr && past * tensor.itemsize() <= storage.nbytes();
}

std::string name(caffe2::TypeMeta dtype) {
  return std::string(c10::getDtypeNames(c10::typeMetaToScalarType(dtype)).first);
}

}  // namespace

Spec::Spec(const at::Tensor& param)
    : sizes(param.sizes().begin(), param.sizes().end()),
      device(param.device()),
      dtype(param.dtype()),
      reals(param.numel() * (param.is_complex() ? 2 : 1)) {
  TORCH_INTERNAL_ASSERT(is_supported(param.scalar_type()));
}

bool Spec::is_met_by(const c10::TensorImpl& tensor) const {
  return tensor.dtype() == dtype && tensor.device() == device && is_plain(tensor) &&
         tensor.sizes() == c10::IntArrayRef(sizes) && has_memory(tensor);
}

bool Spec::is_met_by_rows(const c10::TensorImpl& stack, int64_t rows) const {
  constexpr c10::DispatchKeySet seen_otherwise(
      {c10::DispatchKey::Conjugate, c10::DispatchKey::Negative});
  return device.is_cpu() && stack.device() == device && stack.dtype() == dtype && is_plain(stack) &&
         !stack.key_set().has_any(seen_otherwise) && stack.is_contiguous() && stack.dim() > 0 &&
         stack.sizes()[0] == rows && stack.sizes().slice(1) == c10::IntArrayRef(sizes) &&
         has_memory(stack);
}

bool is_readable_scalar(const c10::TensorImpl& tensor) {
  const auto dtype = c10::typeMetaToScalarType(tensor.dtype());
  return is_plain(tensor) && tensor.numel() == 1 && is_supported(dtype) &&
         !c10::isComplexType(dtype) && has_memory(tensor);
}

bool are_plain(at::TensorList params) {
  const auto can_be_variable = [](const at::Tensor& param) {
    // An empty tensor might be there twice, which nothing but its identity would tell.
    return is_supported(param.scalar_type()) && is_plain(*param.unsafeGetTensorImpl()) &&
           param.numel() > 0 && !param.is_meta() && !param.is_inference() && param.is_leaf();
  };
  return !params.empty() && std::all_of(params.begin(), params.end(), can_be_variable) &&
         are_apart(params);
}

void check_unchanged(size_t i, const at::Tensor& param, const Spec& spec) {
  const auto& impl = *param.unsafeGetTensorImpl();
  if (C10_LIKELY(spec.is_met_by(impl))) {
    return;
  }
  TORCH_CHECK(
      param.sizes() == c10::IntArrayRef(spec.sizes), "parameter ", i, " had shape ",
      c10::IntArrayRef(spec.sizes), " when the bridge was made and has ", param.sizes(),
      " now; make a new optimizer after resizing a parameter.");
  TORCH_CHECK(
      param.dtype() == spec.dtype && param.device() == spec.device && is_plain(impl), "parameter ",
      i, " was a plain ", name(spec.dtype), " tensor on ", spec.device,
      " when the bridge was made and is ", name(param.dtype()), " on ", param.device(),
      " now; make a new optimizer after converting a parameter.");
  TORCH_CHECK(
      false, "parameter ", i, " of shape ", param.sizes(), " has a storage of only ",
      param.storage().nbytes(), " bytes; its memory was freed or resized.");
}

void check_is_vector(const at::Tensor& x, int64_t numel, c10::Device device) {
  const auto expected = [&] {
    return c10::str("x must be a float64 tensor of shape [", numel, "] on ", device);
  };
  TORCH_CHECK_TYPE(
      x.scalar_type() == c10::ScalarType::Double, expected(), ", got one of dtype ",
      name(x.dtype()), ".");
  TORCH_CHECK_VALUE(
      x.dim() == 1 && x.size(0) == numel && x.device() == device, expected(), ", got one of shape ",
      x.sizes(), " on ", x.device(), ".");
  const auto& impl = *x.unsafeGetTensorImpl();
  TORCH_CHECK_VALUE(
      is_plain(impl) && has_memory(impl), expected(),
      ", got one without ordinary memory of its own.");
}

void check_fits(const char* what, size_t i, const at::Tensor& tensor, const Spec& spec) {
  const auto& impl = *tensor.unsafeGetTensorImpl();
  if (C10_LIKELY(spec.is_met_by(impl))) {
    return;
  }
  TORCH_CHECK_VALUE(
      tensor.sizes() == c10::IntArrayRef(spec.sizes), "the ", what, " of parameter ", i,
      " has shape ", tensor.sizes(), "; expected the parameter's ", c10::IntArrayRef(spec.sizes),
      ".");
  TORCH_CHECK_VALUE(
      tensor.device() == spec.device, "the ", what, " of parameter ", i, " is on ", tensor.device(),
      "; expected the parameter's ", spec.device, ".");
  const auto dtype = tensor.scalar_type();
  const bool complex = c10::isComplexType(c10::typeMetaToScalarType(spec.dtype));
  TORCH_CHECK_TYPE(
      is_supported(dtype) && c10::isComplexType(dtype) == complex, "the ", what, " of parameter ",
      i, " has dtype ", name(tensor.dtype()), "; expected the parameter's ", name(spec.dtype), ".");
  const bool has_values = tensor.layout() != c10::kStrided || tensor._is_zerotensor() ||
                          (is_plain(impl) && has_memory(impl));
  TORCH_CHECK_VALUE(
      has_values, "the ", what, " of parameter ", i,
      " is a tensor without ordinary memory of its own; "
      "expected a plain tensor.");
}

}  // namespace minimize
