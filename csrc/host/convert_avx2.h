#pragma once

// The contiguous loops of convert.h for x86-64 with AVX2, chosen at run time.

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <immintrin.h>

#include <cstdint>

#define MINIMIZE_TARGET __attribute__((target("avx2,f16c")))
#define MINIMIZE_INLINE __attribute__((target("avx2,f16c"), always_inline)) inline

namespace minimize::avx2 {

/// Every processor with AVX2 has F16C, which not every compiler can ask for.
inline bool is_available() {
  static const bool available = __builtin_cpu_supports("avx2");
  return available;
}

/// Elements in one round of the loops, and how many are worth a call.
constexpr int64_t kStep = 16;
constexpr int64_t kMinimum = 2 * kStep;

MINIMIZE_INLINE __m256d load4(const double* src) {
  return _mm256_loadu_pd(src);
}
MINIMIZE_INLINE __m256d load4(const float* src) {
  return _mm256_cvtps_pd(_mm_loadu_ps(src));
}
MINIMIZE_INLINE __m256d load4(const c10::Half* src) {
  const __m128i halves = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(src));
  return _mm256_cvtps_pd(_mm_cvtph_ps(halves));
}
MINIMIZE_INLINE __m256d load4(const c10::BFloat16* src) {
  const __m128i halves = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(src));
  const __m128i floats = _mm_slli_epi32(_mm_cvtepu16_epi32(halves), 16);
  return _mm256_cvtps_pd(_mm_castsi128_ps(floats));
}

template <bool kStream>
MINIMIZE_INLINE void store4(double* dst, __m256d values) {
  kStream ? _mm256_stream_pd(dst, values) : _mm256_storeu_pd(dst, values);
}

template <bool kStream>
MINIMIZE_INLINE void store16_bytes(void* dst, __m128i bytes) {
  auto* const to = static_cast<__m128i*>(dst);
  kStream ? _mm_stream_si128(to, bytes) : _mm_storeu_si128(to, bytes);
}

MINIMIZE_INLINE __m256 to_floats(const double* src) {
  const __m128 low = _mm256_cvtpd_ps(_mm256_loadu_pd(src));
  const __m128 high = _mm256_cvtpd_ps(_mm256_loadu_pd(src + 4));
  return _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
}

template <bool kStream>
MINIMIZE_INLINE void write8(const double* src, double* dst) {
  store4<kStream>(dst, _mm256_loadu_pd(src));
  store4<kStream>(dst + 4, _mm256_loadu_pd(src + 4));
}
template <bool kStream>
MINIMIZE_INLINE void write8(const double* src, float* dst) {
  const __m256 floats = to_floats(src);
  kStream ? _mm256_stream_ps(dst, floats) : _mm256_storeu_ps(dst, floats);
}
template <bool kStream>
MINIMIZE_INLINE void write8(const double* src, c10::Half* dst) {
  store16_bytes<kStream>(dst, _mm256_cvtps_ph(to_floats(src), _MM_FROUND_TO_NEAREST_INT));
}
template <bool kStream>
MINIMIZE_INLINE void write8(const double* src, c10::BFloat16* dst) {
  const __m256 floats = to_floats(src);
  const __m256i bits = _mm256_castps_si256(floats);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));  // ties to even
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, bias), 16);
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(floats, floats, _CMP_UNORD_Q));
  const __m256i words = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), is_nan);
  const __m128i low = _mm256_castsi256_si128(words);
  const __m128i high = _mm256_extracti128_si256(words, 1);
  store16_bytes<kStream>(dst, _mm_packus_epi32(low, high));
}

/// dst[i] = src[i] for i < the result, which is n rounded down to whole rounds; `extent` sees
/// them. To stream, dst must be aligned to 32 bytes.
template <bool kStream, class T, class Extent>
MINIMIZE_TARGET int64_t read(const T* src, int64_t n, double* dst, Extent& extent) {
  const __m256i magnitude = _mm256_set1_epi64x(0x7fffffffffffffff);
  __m256i highs[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    for (int64_t k = 0; k < kStep; k += 4) {
      const __m256d values = load4(src + i + k);
      const __m256i bits = _mm256_and_si256(_mm256_castpd_si256(values), magnitude);
      __m256i& high = highs[(k / 4) % 2];  // two, as each waits for the one before it
      high = _mm256_blendv_epi8(high, bits, _mm256_cmpgt_epi64(bits, high));
      store4<kStream>(dst + i + k, values);
    }
  }
  if constexpr (kStream) {
    _mm_sfence();
  }
  int64_t lanes[4];
  for (const __m256i high : highs) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), high);
    for (const int64_t lane : lanes) {
      extent.see_bits(lane);
    }
  }
  return i;
}

/// dst[i] = src[i], as above.
template <bool kStream, class T>
MINIMIZE_TARGET int64_t write(const double* src, int64_t n, T* dst) {
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    write8<kStream>(src + i, dst + i);
    write8<kStream>(src + i + 8, dst + i + 8);
  }
  if constexpr (kStream) {
    _mm_sfence();
  }
  return i;
}

}  // namespace minimize::avx2
