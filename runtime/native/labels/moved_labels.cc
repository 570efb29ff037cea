#include "labels/moved_labels.h"

#include <exception>

#include "scratch.h"

namespace arseg {
namespace {

constexpr int64_t kLargestSide = 32768;

bool side(int64_t length) { return length >= 1 && length <= kLargestSide; }

bool fits(const MovedLabelsArguments& a) {
  if (!side(a.height) || !side(a.width) || !side(a.rows) || !side(a.columns) || a.output == nullptr) return false;
  if (a.classes < 1 || a.classes > 256 || a.sources < 1 || a.sources > kMostMovedSources) return false;
  if (a.with_logits && (!side(a.logits_height) || !side(a.logits_width))) return false;
  for (int64_t k = 0; k < a.sources; ++k) {
    const MovedLabelsSource& source = a.source[k];
    if (source.labels == nullptr || source.motion == nullptr || source.weight == nullptr) return false;
    if (a.with_logits && source.logits == nullptr) return false;
  }
  return true;
}

}  // namespace
}  // namespace arseg

int arseg_moved_labels(const arseg::MovedLabelsArguments* arguments) {
  using namespace arseg;
  if (arguments == nullptr || !fits(*arguments)) return 0;
  try {
    static ScratchPool pool;
    const auto& kernel = choose_kernels().moved_labels;
    const Work work = kernel.plan(*arguments);
    const ScratchPool::Lease scratch(pool, work.scratch_bytes);
    for (int64_t task = 0; task < work.tasks; ++task) kernel.run(*arguments, task, scratch.data());
    return 1;
  } catch (const std::exception&) {
    return 0;
  }
}
