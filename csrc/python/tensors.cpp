#include "python/tensors.h"

#include "tensor/checks.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <string>

namespace minimize {

TensorInput::TensorInput(py::handle x, int64_t numel, c10::Device device) {
  py::detail::make_caster<at::Tensor> caster;
  TORCH_CHECK_TYPE(
      caster.load(x, false), "x must be a float64 tensor of shape [", numel, "] on ", device,
      ", got ", std::string(py::str(py::type::of(x).attr("__name__"))), ".");
  tensor_ = py::detail::cast_op<at::Tensor>(caster);
  check_is_vector(tensor_, numel, device);
  if (!tensor_.is_contiguous() || tensor_.is_neg()) {
    const at::NoGradGuard no_grad;
    tensor_ = tensor_.resolve_neg().contiguous();
  }
}

at::Tensor Tensors::make() const {
  // A solver works on it in place, in whichever mode that runs.
  const c10::InferenceMode no_inference(false);
  const auto options = at::device(device_).dtype(at::kDouble);
  if (!device_.is_cpu()) {
    return at::empty({numel_}, options);
  }
  auto memory = pool_->take();
  auto* const data = memory.get();
  const auto free = memory.get_deleter();
  return at::for_blob(data, {numel_})
      .context(memory.release_context(), free)
      .options(options)
      .make_tensor();
}

int64_t Tensors::count(const Rows& rows) const {
  TORCH_CHECK_VALUE(
      rows.dim() == 2 && rows.size(1) == numel_ && rows.scalar_type() == at::kDouble &&
          rows.device() == device_ && rows.is_contiguous() && !rows.is_neg(),
      "expected a contiguous float64 tensor of shape [rows, ", numel_, "] on ", device_, ", got ",
      rows.toString(), " of shape ", rows.sizes(), " on ", rows.device(), ".");
  return rows.size(0);
}

}  // namespace minimize
