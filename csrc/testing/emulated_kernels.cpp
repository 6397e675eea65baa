#include "testing/emulated_kernels.h"

#include "device/chunk.h"
#include "host/convert.h"
#include "host/memory.h"

#include <c10/util/Exception.h>

#include <array>
#include <cstring>

namespace minimize {
namespace {

struct HostTypes {
  using Half = c10::Half;
  using BFloat16 = c10::BFloat16;

  template <class T>
  static double to_double(T value) {
    return minimize::to_double(value);
  }
  template <class T>
  static T from_double(double value) {
    return minimize::from_double<T>(value);
  }
};

// More than one warp and no divisor of the chunk's length.
constexpr int32_t kThreads = 37;

template <class Copy>
void for_each_thread(const device::Table& table, const Copy& copy) {
  for (int64_t c = 0; c < table.chunk_count; ++c) {
    for (int32_t thread = 0; thread < kThreads; ++thread) {
      copy(c, device::Lane{thread, kThreads});
    }
  }
}

template <bool kUpdate>
void for_each_block(const device::RowTask& task, const c10::Stream&) {
  std::array<double, device::kRows * device::kRowThreads> sums;
  const auto all = [](const auto& step) {
    for (int32_t thread = 0; thread < device::kRowThreads; ++thread) {
      step(thread);
    }
  };
  for (int64_t block = 0; block < device::blocks_of(task); ++block) {
    all([&](int32_t thread) { device::pass_over_rows<kUpdate>(task, block, thread, sums.data()); });
    for (int32_t half = device::kRowThreads / 2; half > 0; half /= 2) {
      all([&](int32_t thread) { device::fold(sums.data(), half, thread); });
    }
    all([&](int32_t thread) { device::store_sums(task, block, thread, sums.data()); });
  }
}

template <class Step>
void for_each_pair_thread(const Step& step) {
  for (int32_t thread = 0; thread < device::kPairThreads; ++thread) {
    step(thread);
  }
}

void pair_sums(const device::PairTask& task, const c10::Stream&) {
  std::array<double, device::kPairSums * device::kPairThreads> sums;
  const int64_t groups = device::groups_of(task);
  for (int64_t block = 0; block < device::chunks_of(task) * groups; ++block) {
    const int64_t chunk = block / groups, group = block % groups;
    for_each_pair_thread(
        [&](int32_t thread) { device::pass_over_pairs(task, chunk, group, thread, sums.data()); });
    for (int32_t half = device::kPairThreads / 2; half > 0; half /= 2) {
      for_each_pair_thread([&](int32_t thread) {
        device::fold_pairs(sums.data(), group + 1 == groups, half, thread);
      });
    }
    for_each_pair_thread(
        [&](int32_t thread) { device::store_pairs(task, chunk, group, thread, sums.data()); });
  }
  for (int64_t k = 0; k < device::length_of(task); ++k) {
    for_each_pair_thread(
        [&](int32_t thread) { device::gather_parts(task, k, thread, sums.data()); });
    for (int32_t half = device::kPairThreads / 2; half > 0; half /= 2) {
      for_each_pair_thread(
          [&](int32_t thread) { device::fold_parts(task, k, sums.data(), half, thread); });
    }
    task.out[k] = sums[0];
  }
}

void pair_turn(const device::PairTask& task, const c10::Stream&) {
  for (int64_t j = 0; j < task.pairs.n; ++j) {
    device::turn_column(task, j);
  }
}

}  // namespace

Asked asked;

const DeviceKernels kEmulatedKernels = {
    .gather =
        [](const device::Table& table, double* flat, device::Tail* tail, double number,
           const c10::Stream&) {
          ++asked.gathers;
          for_each_thread(table, [&](int64_t c, device::Lane lane) {
            if (!device::gather_chunk<HostTypes>(table, c, flat, tail, lane)) {
              tail->mark = number;
            }
          });
        },
    .scatter =
        [](const device::Table& table, const double* flat, const c10::Stream&) {
          ++asked.scatters;
          for_each_thread(table, [&](int64_t c, device::Lane lane) {
            device::scatter_chunk<HostTypes>(table, c, flat, lane);
          });
        },
    .product = for_each_block<false>,
    .rank_two_product = for_each_block<true>,
    .pair_sums = pair_sums,
    .pair_turn = pair_turn,
    .copy_up =
        [](void* device, const void* host, size_t bytes, const c10::Stream&) {
          ++asked.copies_up;
          std::memcpy(device, host, bytes);
        },
    .copy_down =
        [](void* host, const void* device, size_t bytes, const c10::Stream&) {
          ++asked.copies_down;
          std::memcpy(host, device, bytes);
        },
    .wait =
        [](const c10::Stream&) {
          ++asked.waits;
          TORCH_CHECK(!asked.fails.exchange(false), "the emulated device is lost.");
        },
    .host_memory =
        [](size_t bytes) {
          ++asked.host_blocks;
          asked.host_bytes += static_cast<int64_t>(bytes);
          return allocate_host(bytes);
        },
    .hold = [](void*, const c10::Stream&) { ++asked.holds; },
    .is_asynchronous = false,
};

}  // namespace minimize
