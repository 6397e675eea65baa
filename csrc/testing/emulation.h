#pragma once

#include <torch/csrc/utils/pybind.h>

namespace minimize {

/// What the tests of a device's path use where there is no device.
void bind_emulation(py::module_& m);

}  // namespace minimize
