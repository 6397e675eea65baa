#include "device/kernels.h"

#include <c10/util/Exception.h>

namespace minimize {
namespace {

constexpr auto kRebuild =
    "Rebuild it where torch finds the CUDA toolkit (see CUDA_HOME), in the source directory: "
    "pip install --no-build-isolation --no-deps --force-reinstall .";

}  // namespace

#ifdef MINIMIZE_CUDA
extern const DeviceKernels kCudaKernels;  // device/cuda/kernels_cuda.cpp
#endif

const DeviceKernels* find_device_kernels(c10::DeviceType type) {
  switch (type) {
#ifdef MINIMIZE_CUDA
    case c10::DeviceType::CUDA:
      return &kCudaKernels;
#endif
    default:
      return nullptr;
  }
}

void check_is_built_for(size_t i, const at::Tensor& param) {
  TORCH_CHECK(
      !param.is_cuda() || find_device_kernels(c10::DeviceType::CUDA) != nullptr, "parameter ", i,
      " is on ", param.device(), ", but the C++ extension was built without CUDA. ", kRebuild);
}

}  // namespace minimize
