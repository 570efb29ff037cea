// Chooses among the SIMD levels at run time. The only file of this folder that is compiled once.

#include <cstdlib>
#include <cstring>

#include "kernels/kernels.h"
#include "tensor.h"

namespace arseg {

namespace baseline {
extern const KernelSet kernel_set;
}
#if defined(__x86_64__) || defined(_M_X64)
namespace avx2 {
extern const KernelSet kernel_set;
}
namespace avx512 {
extern const KernelSet kernel_set;
}
#endif

namespace {

struct Level {
  const KernelSet* set;
  bool (*runs_here)();
};

// Best first.
const Level kLevels[] = {
#if defined(__x86_64__) || defined(_M_X64)
    {&avx512::kernel_set,
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
     }},
    {&avx2::kernel_set, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#endif
    {&baseline::kernel_set, [] { return true; }},
};

}  // namespace

const KernelSet& choose_kernels() {
#if defined(__x86_64__) || defined(_M_X64)
  __builtin_cpu_init();
#endif
  const char* wanted = std::getenv("ARSEG_EDGE_SIMD");
  const bool free_choice = wanted == nullptr || *wanted == '\0';
  for (const Level& level : kLevels) {
    if (!free_choice && std::strcmp(level.set->level, wanted) != 0) continue;
    if (level.runs_here()) return *level.set;
    require(free_choice, "ARSEG_EDGE_SIMD=", wanted, ": this processor has no such instructions; unset it");
  }
  throw Error(text("ARSEG_EDGE_SIMD=", wanted, ": no such level in this build; unset it, or use baseline",
                   std::size(kLevels) > 1 ? ", avx2 or avx512" : ""));
}

}  // namespace arseg
