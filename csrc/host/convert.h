#pragma once

// Loops between a tensor's memory and float64, on raw pointers. The conversions
// are those of Tensor::copy_, a NaN's payload aside: float64 to a half and back
// goes through float32.

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
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

/// How large values are: the bits of max |v_i|. Numbers without a sign are in the order of their
/// bits, NaN above all of them.
class Extent {
 public:
  void see(double value) {
    uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    constexpr uint64_t magnitude = 0x7fffffffffffffff;
    see_bits(static_cast<int64_t>(bits & magnitude));
  }
  void see_bits(int64_t bits) {
    bits_ = std::max(bits_, bits);
  }
  void see(const Extent& other) {
    see_bits(other.bits_);
  }
  /// Whether every value seen is a number.
  bool finite() const {
    return bits_ < 0x7ff0000000000000;
  }
  /// max |v_i|; NaN if one is NaN, 0 if there are none.
  double largest() const {
    double value;
    std::memcpy(&value, &bits_, sizeof value);
    return value;
  }

 private:
  int64_t bits_ = 0;
};

/// Elements until `dst` is at a multiple of 32 bytes, where streaming may start.
template <class T>
int64_t until_aligned(const T* dst) {
  constexpr uintptr_t block = 32;
  return static_cast<int64_t>(
      (block - reinterpret_cast<uintptr_t>(dst) % block) % block / sizeof(T));
}

/// dst[i] = src[i * stride] for i < n, and how large they are. `stream`
/// says that dst is too large for the caches, so that they need not hold it.
template <class T>
Extent read_run(const T* src, int64_t stride, int64_t n, double* dst, bool stream) {
  Extent extent;
  const auto one_by_one = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      dst[i] = to_double(src[i * stride]);
      extent.see(dst[i]);
    }
  };
  int64_t done = 0;
#ifdef MINIMIZE_AVX2
  if (stride == 1 && n >= avx2::kMinimum && avx2::is_available()) {
    if (stream) {
      done = until_aligned(dst);
      one_by_one(0, done);
      done += avx2::read<true>(src + done, n - done, dst + done, extent);
    } else {
      done = avx2::read<false>(src, n, dst, extent);
    }
  }
#else
  (void)stream;
#endif
  one_by_one(done, n);
  return extent;
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
