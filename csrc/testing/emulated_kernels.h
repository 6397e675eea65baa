#pragma once

#include "device/kernels.h"

namespace minimize {

/// The kernels' own code, run on host memory one thread after the other: what the tests
/// use in place of a card.
extern const DeviceKernels kEmulatedKernels;

}  // namespace minimize
