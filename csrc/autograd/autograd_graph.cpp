#include "autograd/autograd_graph.h"

#include <torch/csrc/autograd/function.h>

#include <unordered_set>

namespace minimize {
namespace {

/// Calls f once with the owning pointer of each node. Iterative, because the graph
/// of a deep model would overflow the stack.
template <class F>
void for_each_node(at::TensorList roots, const F& f) {
  using torch::autograd::Node;
  std::unordered_set<const Node*> seen;
  auto pending = torch::autograd::edge_list();
  const auto visit = [&](const auto& function) {
    if (function && seen.insert(&*function).second) {
      pending.emplace_back(function, 0);
    }
  };
  for (const auto& root : roots) {
    if (root.defined() && root.requires_grad()) {
      visit(root.grad_fn());
    }
  }
  while (!pending.empty()) {
    const auto function = std::move(pending.back().function);
    pending.pop_back();
    for (const auto& edge : function->next_edges()) {
      visit(edge.function);
    }
    f(function);
  }
}

int64_t bytes(const torch::autograd::InputMetadata& metadata) {
  if (metadata.is_nested_tensor()) {
    return 0;
  }
  auto size = static_cast<int64_t>(metadata.dtype().itemsize());
  for (const auto& length : metadata.shape_as_dim_vector()) {
    size *= length.maybe_as_int().value_or(1);
  }
  return size;
}

}  // namespace

int64_t gradient_bytes(at::TensorList roots) {
  int64_t total = 0;
  for_each_node(roots, [&](const auto& node) {
    for (uint32_t i = 0; i < node->num_inputs(); ++i) {
      total += bytes(node->input_metadata(i));
    }
  });
  return total;
}

void release_graph(at::TensorList roots) {
  for_each_node(roots, [](const auto& node) { node->release_variables(); });
}

}  // namespace minimize
