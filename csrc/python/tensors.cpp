#include "python/tensors.h"

#include "tensor/checks.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include <string>
#include <string_view>

namespace minimize {
namespace {

int64_t check_square(const at::Tensor& h) {
  TORCH_CHECK_VALUE(
      h.dim() == 2 && h.size(0) == h.size(1) && h.scalar_type() == at::kDouble &&
          h.is_contiguous() && !h.is_neg(),
      "expected a contiguous float64 tensor of shape [n, n], got ", h.toString(), " of shape ",
      h.sizes(), ".");
  return h.size(0);
}

const DeviceKernels& kernels_for(const at::Tensor& h, const std::optional<py::capsule>& kernels) {
  const auto* const found = kernels ? kernels_in(*kernels) : find_device_kernels(h.device().type());
  TORCH_CHECK_VALUE(found != nullptr, "this build has no kernels for tensors on ", h.device(), ".");
  return *found;
}

using Launch = void (*)(const device::RowTask&, const c10::Stream&);

/// The product, whose memory is made here, on the device's current stream.
at::Tensor launched(Launch launch, device::RowTask task, c10::Device device) {
  const py::gil_scoped_release no_gil;
  const c10::DeviceGuard guard(device);
  // Read in whichever mode the solver runs.
  const c10::InferenceMode no_inference(false);
  auto out = at::empty({task.n}, at::device(device).dtype(at::kDouble));
  task.out = out.mutable_data_ptr<double>();
  launch(task, c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  return out;
}

/// The first rows of w, their vectors aside.
Pairs pairs_of(const at::Tensor& w, int64_t used) {
  const bool single = w.scalar_type() == at::kFloat;
  TORCH_CHECK_VALUE(
      w.dim() == 2 && (single || w.scalar_type() == at::kDouble) && w.is_contiguous() &&
          !w.is_neg() && used >= 0 && used <= w.size(0),
      "expected a contiguous tensor of float64 or float32 with at least ", used, " rows, got ",
      w.toString(), " of shape ", w.sizes(), ".");
  // Not written to where sums are taken.
  return {const_cast<void*>(w.const_data_ptr()), single, w.size(1), used, nullptr, nullptr};
}

}  // namespace

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

const DeviceKernels* kernels_in(const py::capsule& capsule) {
  TORCH_CHECK_VALUE(
      capsule.name() == std::string_view(kKernelsCapsule), "expected a capsule named ",
      kKernelsCapsule, ".");
  return capsule.get_pointer<const DeviceKernels>();
}

at::Tensor device_product(
    const at::Tensor& h, py::handle v, const std::optional<py::capsule>& kernels) {
  const int64_t n = check_square(h);
  const auto launch = kernels_for(h, kernels).product;
  const TensorInput input(v, n, h.device());
  // Not written to where nothing is updated.
  auto* const matrix = const_cast<double*>(h.const_data_ptr<double>());
  return launched(launch, {.h = matrix, .n = n, .v = input.data()}, h.device());
}

at::Tensor device_rank_two_product(
    const at::Tensor& h, double tau, double ss, double sw, double ww, py::handle s, py::handle w,
    py::handle v, const std::optional<py::capsule>& kernels) {
  const int64_t n = check_square(h);
  const auto launch = kernels_for(h, kernels).rank_two_product;
  const TensorInput along(s, n, h.device()), other(w, n, h.device()), input(v, n, h.device());
  const device::RowTask task{
      .h = h.mutable_data_ptr<double>(),
      .n = n,
      .change = {.tau = tau, .ss = ss, .sw = sw, .ww = ww, .s = along.data(), .w = other.data()},
      .scale = 1.0 / tau,
      .v = input.data()};
  return launched(launch, task, h.device());
}

at::Tensor device_pair_sums(
    const at::Tensor& w, int64_t used, py::handle gradient, py::handle before, py::handle direction,
    const std::optional<py::capsule>& kernels) {
  device::PairTask task{.pairs = pairs_of(w, used), .direction = nullptr};
  const auto launch = kernels_for(w, kernels).pair_sums;
  const int64_t n = task.pairs.n;
  const TensorInput g(gradient, n, w.device()), old(before, n, w.device()),
      d(direction, n, w.device());
  task.pairs.gradient = g.data();
  task.pairs.before = old.data();
  task.direction = const_cast<double*>(d.data());  // which is read
  const py::gil_scoped_release no_gil;
  const c10::DeviceGuard guard(w.device());
  const c10::InferenceMode no_inference(false);
  const auto options = at::device(w.device()).dtype(at::kDouble);
  const auto parts = at::empty({device::chunks_of(task) * device::length_of(task)}, options);
  auto out = at::empty({device::length_of(task)}, options);
  task.parts = parts.mutable_data_ptr<double>();
  task.out = out.mutable_data_ptr<double>();
  launch(task, c10::impl::VirtualGuardImpl(w.device().type()).getStream(w.device()));
  return out;
}

void device_pair_turn(
    const at::Tensor& w, double gamma, py::handle weights, int64_t slot, double step,
    py::handle gradient, py::handle before, const at::Tensor& direction,
    const std::optional<py::capsule>& kernels) {
  const auto used = static_cast<int64_t>(py::len(weights));
  device::PairTask task{.pairs = pairs_of(w, used), .direction = nullptr};
  TORCH_CHECK_VALUE(
      used % 2 == 0 && 2 * slot < used, "expected a slot below ", used / 2, ", got ", slot, ".");
  const auto launch = kernels_for(w, kernels).pair_turn;
  const int64_t n = task.pairs.n;
  const TensorInput c(weights, used, w.device()), g(gradient, n, w.device()),
      old(before, n, w.device());
  check_is_vector(direction, n, w.device());
  TORCH_CHECK_VALUE(
      direction.is_contiguous() && !direction.is_neg(), "expected a contiguous direction.");
  task.pairs.gradient = g.data();
  task.pairs.before = old.data();
  task.change = {.gamma = gamma, .weights = c.data(), .slot = slot, .step = step};
  task.direction = direction.mutable_data_ptr<double>();
  const py::gil_scoped_release no_gil;
  const c10::DeviceGuard guard(w.device());
  launch(task, c10::impl::VirtualGuardImpl(w.device().type()).getStream(w.device()));
}

}  // namespace minimize
