#pragma once

#include <cstdint>

namespace minimize {

/// How many threads a library uses, by the addresses of its own two functions,
/// int get() and void set(int), as OpenBLAS has them.
class ThreadNumber {
 public:
  ThreadNumber(uintptr_t getter, uintptr_t setter)
      : get_(reinterpret_cast<int (*)()>(getter)), set_(reinterpret_cast<void (*)(int)>(setter)) {}

  /// Sets the number; returns the one before.
  int swap(int number) const {
    const int before = get_();
    if (before != number) {
      set_(number);
    }
    return before;
  }

 private:
  int (*get_)();
  void (*set_)(int);
};

}  // namespace minimize
