#pragma once

// Four float64 at a time, for loops that are compiled twice: as they are, and for processors with
// AVX2, and FMA for those that may round otherwise there, where the compiler can do that.

#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__)
#define MINIMIZE_FMA __attribute__((target("avx2,fma")))
#define MINIMIZE_WIDE __attribute__((target("avx2")))
#endif
#define MINIMIZE_ALWAYS_INLINE __attribute__((always_inline)) inline

namespace minimize {

constexpr int64_t kLanes = 4;
using Lanes = double __attribute__((vector_size(kLanes * sizeof(double))));

#ifdef MINIMIZE_WIDE
inline bool has_wide() {
  static const bool has = __builtin_cpu_supports("avx2");
  return has;
}
#endif

#ifdef MINIMIZE_FMA
inline bool has_fma() {
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has;
}
#endif

}  // namespace minimize
