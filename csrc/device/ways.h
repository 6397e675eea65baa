#pragma once

#include <cstdint>

namespace minimize {

/// How a vector crosses between host and device where more than one way is open. Which is the
/// faster hangs on the machine: `python -m bench.gpu` compares them.
struct Ways {
  /// So many reals are copied to pinned memory and sent while the next are copied.
  int64_t slab_reals = int64_t{1} << 20;
  /// A vector of at most so many is read and written by the kernels where it is on the host,
  /// with no copy of its own.
  int64_t direct_reals = 0;

  /// With what PYTORCH_MINIMIZE_SLAB and PYTORCH_MINIMIZE_DIRECT say now. ValueError if that is
  /// no number of reals.
  static Ways from_environment();
};

}  // namespace minimize
