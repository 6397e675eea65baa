#pragma once

#include "flat/parameter_bridge.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace minimize {

/// The Hessian of a loss at the parameters' current values, as an operator on flat
/// vectors: Hv is the derivative of <gradient, v> by double backward.
///
/// The loss comes as the backward() calls that make up its gradient, one add() each.
/// Holds the graph of the gradient, and nothing holds the operator: dropping it
/// frees the graph.
///
/// Methods that run the autograd engine must be called without the GIL.
class HessianOperator {
 public:
  explicit HessianOperator(std::shared_ptr<const ParameterBridge> bridge);

  int64_t numel() const {
    return bridge_->numel();
  }

  /// Adds the gradient of sum_k <seeds_k, roots_k>; an undefined seed is a one.
  /// `inputs` restricts it to some leaves. The graph of the roots is retained.
  /// With `fill_grads` the gradient is also added to the parameters' `.grad`.
  void add(
      const std::vector<at::Tensor>& roots, const std::vector<at::Tensor>& seeds,
      const std::optional<std::vector<at::Tensor>>& inputs, bool fill_grads);

  /// Hv into out[0, numel); true if all of it is finite. Parameters that the
  /// gradient does not depend on get zeros.
  bool product(const double* v, double* out, Memory memory) const;
  /// The same, and free(): gradients, graph and v as tensors go as early as the product
  /// lets them.
  bool last_product(const double* v, double* out, Memory memory);

  /// Bytes that one product allocates, about.
  int64_t product_bytes() const;
  /// Frees the graphs, those of the roots included, at once rather than when the last
  /// of the closure's own tensors goes. No product can be taken afterwards.
  void free();

  /// What several products at once need: the gradients, tensors that depend on the
  /// parameters; the position of each one's parameter; and `rows` flat vectors as one stack of
  /// tensors for each of them.
  const std::vector<at::Tensor>& gradients() const {
    return gradients_;
  }
  const std::vector<size_t>& owners() const {
    return owners_;
  }
  std::vector<at::Tensor> unpack_rows(const double* v, int64_t rows, Memory memory) const;

 private:
  std::vector<size_t> positions(const std::vector<at::Tensor>& inputs) const;
  void check_unchanged() const;
  bool pack_zeros(double* out, Memory memory) const;
  std::vector<at::Tensor> seeds(const double* v, Memory memory) const;

  std::shared_ptr<const ParameterBridge> bridge_;
  std::vector<at::Tensor> roots_;
  std::vector<at::Tensor> gradients_;
  std::vector<size_t> owners_;  // the parameter of each
  std::vector<int64_t> versions_;
};

}  // namespace minimize
