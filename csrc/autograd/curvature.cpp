#include "autograd/curvature.h"

#include "autograd/autograd_graph.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/variable.h>

#include <functional>
#include <unordered_set>

namespace minimize {
namespace {

/// Whether nothing else has the memory of a tensor: no view, no graph that saved it.
bool is_alone(const at::Tensor& tensor) {
  return tensor.use_count() == 1 && tensor.layout() == at::kStrided && tensor.has_storage() &&
         tensor.storage().use_count() == 1 && tensor.is_non_overlapping_and_dense();
}

/// What backward() does at a leaf. The closure may write into `.grad`, which is the
/// gradient itself only where no graph has saved that.
void add_to_grad(const at::Tensor& param, const at::Tensor& gradient) {
  const at::NoGradGuard no_grad;
  auto& grad = param.mutable_grad();
  if (grad.defined()) {
    grad = at::add(grad, gradient);
  } else {
    grad = is_alone(gradient) ? gradient.detach() : gradient.detach().clone();
  }
}

/// A tensor at the same place of the graph, without values: a pass needs none of its roots'.
at::Tensor without_values(const at::Tensor& tensor) {
  auto made = at::empty({0}, tensor.options());
  using namespace torch::autograd;
  impl::set_gradient_edge(made, impl::gradient_edge(tensor));
  return made;
}

/// After an exception the engine keeps the rest of the pass, and with it the graph,
/// in this thread's queue until its next pass; so here is one.
void forget_failed_pass() {
  const auto leaf = at::zeros({}).requires_grad_();
  const at::AutoGradMode grad_mode(true);
  torch::autograd::grad({leaf.mul(1)}, {leaf});
}

std::vector<at::Tensor> vector_jacobian(
    const std::vector<at::Tensor>& outputs, const std::vector<at::Tensor>& inputs,
    const std::vector<at::Tensor>& seeds, bool keep_graph, bool create_graph) {
  try {
    return torch::autograd::grad(
        outputs, inputs, seeds, keep_graph, create_graph, /*allow_unused=*/true);
  } catch (...) {
    forget_failed_pass();
    throw;
  }
}

using Make = std::function<std::vector<at::Tensor>()>;

/// A root above others, which makes their seeds when the pass begins. Nothing but the
/// pass holds them then, and each goes when it has been used.
struct Seeding : torch::autograd::Function<Seeding> {
  static at::Tensor forward(
      torch::autograd::AutogradContext* context, at::TensorList /*roots*/, int64_t make) {
    context->saved_data["make"] = make;
    return at::zeros({});
  }

  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context, const torch::autograd::variable_list& /*one*/) {
    const auto address = context->saved_data["make"].toInt();
    auto seeds = (*reinterpret_cast<const Make*>(address))();  // NOLINT: our caller's, alive
    seeds.emplace_back();                                      // of `make`, which has no gradient
    return seeds;
  }
};

at::Tensor seeding(const std::vector<at::Tensor>& roots, const Make& make) {
  const at::AutoGradMode grad_mode(true);
  return Seeding::apply(at::TensorList(roots), reinterpret_cast<int64_t>(&make));  // NOLINT
}

}  // namespace

HessianOperator::HessianOperator(std::shared_ptr<const ParameterBridge> bridge)
    : bridge_(std::move(bridge)) {
  for (const auto& param : bridge_->params()) {
    versions_.push_back(param._version());
  }
}

std::vector<size_t> HessianOperator::positions(const std::vector<at::Tensor>& inputs) const {
  std::unordered_set<const c10::TensorImpl*> wanted;
  for (const auto& input : inputs) {
    wanted.insert(input.unsafeGetTensorImpl());
  }
  std::vector<size_t> found;
  for (size_t i = 0; i < bridge_->params().size(); ++i) {
    if (wanted.count(bridge_->params()[i].unsafeGetTensorImpl()) != 0) {
      found.push_back(i);
    }
  }
  return found;
}

void HessianOperator::add(
    const std::vector<at::Tensor>& roots, const std::vector<at::Tensor>& seeds,
    const std::optional<std::vector<at::Tensor>>& inputs, bool fill_grads) {
  const auto& params = bridge_->params();
  const auto where = positions(inputs.value_or(params));
  if (where.empty()) {
    return;
  }
  std::vector<at::Tensor> leaves;
  for (const size_t i : where) {
    leaves.push_back(params[i]);
  }
  roots_.insert(roots_.end(), roots.begin(), roots.end());
  const auto gradients = vector_jacobian(roots, leaves, seeds, true, /*create_graph=*/true);
  for (size_t k = 0; k < where.size(); ++k) {
    const auto& gradient = gradients[k];
    if (!gradient.defined()) {
      continue;
    }
    if (fill_grads) {
      add_to_grad(leaves[k], gradient);
    }
    if (gradient.requires_grad()) {
      gradients_.push_back(gradient);
      owners_.push_back(where[k]);
    }
  }
}

void HessianOperator::check_unchanged() const {
  for (size_t i = 0; i < versions_.size(); ++i) {
    TORCH_CHECK(
        bridge_->params()[i]._version() == versions_[i], "parameter ", i,
        " was written to since its Hessian was taken, and the graph with its old values is "
        "gone; take the Hessian again.");
  }
}

bool HessianOperator::product(const double* v, double* out, Memory memory) const {
  check_unchanged();
  if (gradients_.empty()) {
    return pack_zeros(out, memory);
  }
  const auto products =
      vector_jacobian(gradients_, bridge_->params(), seeds(v, memory), true, false);
  return bridge_->pack(products, out, memory);
}

bool HessianOperator::last_product(const double* v, double* out, Memory memory) {
  check_unchanged();
  if (gradients_.empty()) {
    free();
    return pack_zeros(out, memory);
  }
  bool on_host = true;
  for (auto& gradient : gradients_) {
    on_host = on_host && gradient.is_cpu();
    gradient = without_values(gradient);
  }
  const Make make = [&] { return seeds(v, memory); };
  std::vector<at::Tensor> products;
  if (on_host) {
    products = vector_jacobian(
        {seeding(gradients_, make)}, bridge_->params(), {at::ones({})}, false, false);
  } else {  // vectors cross to a device on the stream of this thread
    products = vector_jacobian(gradients_, bridge_->params(), make(), false, false);
  }
  const bool finite = bridge_->pack(products, out, memory);
  free();
  return finite;
}

bool HessianOperator::pack_zeros(double* out, Memory memory) const {
  return bridge_->pack(std::vector<at::Tensor>(bridge_->params().size()), out, memory);
}

std::vector<at::Tensor> HessianOperator::seeds(const double* v, Memory memory) const {
  const auto vectors = bridge_->unpack(v, memory);
  std::vector<at::Tensor> found;
  found.reserve(owners_.size());
  for (const size_t i : owners_) {
    found.push_back(vectors[i]);
  }
  return found;
}

int64_t HessianOperator::product_bytes() const {
  return gradient_bytes(gradients_) + 2 * numel() * static_cast<int64_t>(sizeof(double));
}

void HessianOperator::free() {
  release_graph(gradients_);
  release_graph(roots_);
  gradients_.clear();
  owners_.clear();
  roots_.clear();
}

std::vector<at::Tensor> HessianOperator::unpack_rows(
    const double* v, int64_t rows, Memory memory) const {
  check_unchanged();
  const auto of_param = bridge_->unpack_rows(v, rows, memory);
  std::vector<at::Tensor> stacks;
  for (const size_t i : owners_) {
    stacks.push_back(of_param[i]);
  }
  return stacks;
}

}  // namespace minimize
