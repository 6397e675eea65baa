#pragma once

// Loops between a tensor's memory and float64, on raw pointers. The conversions
// are those of Tensor::copy_, a NaN's payload aside: float64 to a half and back
// goes through float32.

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__) && defined(__GNUC__)
#define MINIMIZE_AVX2 1
#include "host/convert_avx2.h"
#endif

namespace minimize {

template <class T>
double to_double(T value) {
  if constexpr (std::is_same_v<T, double>) {
    return value;
  } else {
    return static_cast<double>(static_cast<float>(value));
  }
}

template <class T>
T from_double(double value) {
  if constexpr (std::is_same_v<T, double>) {
    return value;
  } else {
    return static_cast<T>(static_cast<float>(value));
  }
}

/// Collects whether any value seen was an infinity or a NaN. Integer arithmetic
/// only, because a floating-point reduction would not be vectorised.
class FiniteCheck {
 public:
  void see(double value) {
    constexpr uint64_t exponent = 0x7ff0000000000000;
    constexpr uint64_t lowest_bit = 0x0010000000000000;
    uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    carry_ |= (bits & exponent) + lowest_bit;  // reaches the sign bit only from all ones
  }
  bool finite() const {
    return (carry_ >> 63) == 0;
  }

 private:
  uint64_t carry_ = 0;
};

/// Elements until `dst` is at a multiple of 32 bytes, where streaming may start.
template <class T>
int64_t until_aligned(const T* dst) {
  constexpr uintptr_t block = 32;
  return static_cast<int64_t>(
      (block - reinterpret_cast<uintptr_t>(dst) % block) % block / sizeof(T));
}

/// dst[i] = src[i * stride] for i < n; true if every value is finite. `stream`
/// says that dst is too large for the caches, so that they need not hold it.
template <class T>
bool read_run(const T* src, int64_t stride, int64_t n, double* dst, bool stream) {
  FiniteCheck check;
  const auto one_by_one = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      dst[i] = to_double(src[i * stride]);
      check.see(dst[i]);
    }
  };
  bool finite = true;
  int64_t done = 0;
#ifdef MINIMIZE_AVX2
  if (stride == 1 && n >= avx2::kMinimum && avx2::is_available()) {
    if (stream) {
      done = until_aligned(dst);
      one_by_one(0, done);
      done += avx2::read<true>(src + done, n - done, dst + done, finite);
    } else {
      done = avx2::read<false>(src, n, dst, finite);
    }
  }
#else
  (void)stream;
#endif
  one_by_one(done, n);
  return finite && check.finite();
}

/// dst[i * stride] = src[i] for i < n.
template <class T>
void write_run(const double* src, int64_t n, T* dst, int64_t stride, bool stream) {
  const auto one_by_one = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      dst[i * stride] = from_double<T>(src[i]);
    }
  };
  int64_t done = 0;
#ifdef MINIMIZE_AVX2
  if (stride == 1 && n >= avx2::kMinimum && avx2::is_available()) {
    if (stream) {
      done = until_aligned(dst);
      one_by_one(0, done);
      done += avx2::write<true>(src + done, n - done, dst + done);
    } else {
      done = avx2::write<false>(src, n, dst);
    }
  }
#else
  (void)stream;
#endif
  one_by_one(done, n);
}

}  // namespace minimize
