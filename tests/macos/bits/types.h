// In front of glibc's own: 64-bit integers are `long long`, as they are on macOS, where a size is
// still a `long`, so that what takes two of one type refuses the two together.

#define __int64_t minimize_glibc_int64_t
#define __uint64_t minimize_glibc_uint64_t
#include_next <bits/types.h>
#undef __int64_t
#undef __uint64_t

#ifndef MINIMIZE_MACOS_TYPES
#define MINIMIZE_MACOS_TYPES
typedef long long __int64_t;
typedef unsigned long long __uint64_t;
#endif
