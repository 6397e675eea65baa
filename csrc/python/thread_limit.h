#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace minimize {

/// Holds libraries to a number of threads, by the addresses of their own two
/// functions, int get() and void set(int), as OpenBLAS has them.
///
/// Their settings belong to the process, which runs in several Python threads
/// share: the first to hold keeps the user's numbers, and the last to release
/// gives them back. Holders are told apart, not counted, since an interrupt may
/// come between a release and the hold that belongs to it. The GIL guards them.
class ThreadLimit {
 public:
  explicit ThreadLimit(const std::vector<std::pair<uintptr_t, uintptr_t>>& functions) {
    for (const auto& [get, set] : functions) {
      libraries_.push_back(
          {reinterpret_cast<int (*)()>(get), reinterpret_cast<void (*)(int)>(set), 0});
    }
  }

  void hold(uintptr_t holder, int number) {
    if (holders_.empty()) {
      for (auto& library : libraries_) {
        library.users = library.get();
        library.change(number);
      }
    }
    if (std::find(holders_.begin(), holders_.end(), holder) == holders_.end()) {
      holders_.push_back(holder);
    }
  }
  void release(uintptr_t holder) {
    if (std::erase(holders_, holder) > 0 && holders_.empty()) {
      for (const auto& library : libraries_) {
        library.change(library.users);
      }
    }
  }

 private:
  struct Library {
    int (*get)();
    void (*set)(int);
    int users;  // while held

    void change(int number) const {
      if (get() != number) {
        set(number);
      }
    }
  };

  std::vector<Library> libraries_;
  std::vector<uintptr_t> holders_;
};

/// One of those who hold libraries, to a number of its own. An interrupt cannot come into its
/// functions; where it goes it gives back.
class ThreadHold {
 public:
  ThreadHold(ThreadLimit& limit, int number) : limit_(limit), number_(number) {}
  ThreadHold(const ThreadHold&) = delete;
  ThreadHold& operator=(const ThreadHold&) = delete;
  ~ThreadHold() {
    release();
  }

  void hold() {
    limit_.hold(name(), number_);
  }
  void release() {
    limit_.release(name());
  }

 private:
  uintptr_t name() const {
    return reinterpret_cast<uintptr_t>(this);
  }

  ThreadLimit& limit_;
  int number_;
};

}  // namespace minimize
