#pragma once

// Loops between a tensor's memory and float64, on raw pointers. The conversions
// are those of Tensor::copy_: a half goes through float both ways.

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace minimize {

template <class T>
inline double to_double(T value) {
  if constexpr (std::is_same_v<T, double>) {
    return value;
  } else {
    return static_cast<double>(static_cast<float>(value));
  }
}

template <class T>
inline T from_double(double value) {
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

/// dst[i] = src[i * stride]; true if every value is finite.
template <class T>
bool read_run(const T* src, int64_t stride, int64_t n, double* dst) {
  FiniteCheck check;
  if (stride == 1) {
    for (int64_t i = 0; i < n; ++i) {
      dst[i] = to_double(src[i]);
      check.see(dst[i]);
    }
  } else {
    for (int64_t i = 0; i < n; ++i) {
      dst[i] = to_double(src[i * stride]);
      check.see(dst[i]);
    }
  }
  return check.finite();
}

/// dst[i * stride] = src[i].
template <class T>
void write_run(const double* src, int64_t n, T* dst, int64_t stride) {
  if (stride == 1) {
    for (int64_t i = 0; i < n; ++i) {
      dst[i] = from_double<T>(src[i]);
    }
  } else {
    for (int64_t i = 0; i < n; ++i) {
      dst[i * stride] = from_double<T>(src[i]);
    }
  }
}

}  // namespace minimize
