#include "device/ways.h"

#include <c10/util/Exception.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace minimize {
namespace {

void read(const char* name, int64_t least, int64_t& reals) {
  const char* const set = std::getenv(name);
  if (set == nullptr) {
    return;
  }
  const std::string_view text(set);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), reals);
  TORCH_CHECK_VALUE(
      error == std::errc() && end == text.data() + text.size() && reals >= least, name,
      " must be a number of reals, at least ", least, ", got '", text, "'.");
}

}  // namespace

Ways Ways::from_environment() {
  Ways ways;
  read("PYTORCH_MINIMIZE_SLAB", 1, ways.slab_reals);
  read("PYTORCH_MINIMIZE_DIRECT", 0, ways.direct_reals);
  return ways;
}

}  // namespace minimize
