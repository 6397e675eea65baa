#pragma once

#include "device/kernels.h"

#include <atomic>
#include <cstdint>

namespace minimize {

/// What the emulated device was asked for, by all threads, so far.
struct Asked {
  std::atomic<int64_t> gathers, scatters;       // launches
  std::atomic<int64_t> copies_up, copies_down;  // transfers
  std::atomic<int64_t> waits, holds;
  std::atomic<int64_t> host_blocks, host_bytes;  // allocated
  std::atomic<bool> fails;                       // the next wait, as where the device is lost
};
extern Asked asked;

/// The kernels' own code, run on host memory one thread after the other: what the tests
/// use in place of a card.
extern const DeviceKernels kEmulatedKernels;

}  // namespace minimize
