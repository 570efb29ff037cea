#include "labels/moved_labels.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>

#include "scratch.h"

namespace arseg {
namespace {

constexpr int64_t kLargestSide = 32768;
constexpr int64_t kBlock = 8;

bool side(int64_t length) { return length >= 1 && length <= kLargestSide; }

bool fits(const MovedLabelsArguments& a) {
  if (!side(a.height) || !side(a.width) || !side(a.rows) || !side(a.columns) || a.output == nullptr) return false;
  if (a.rows != (a.height + kBlock - 1) / kBlock || a.columns != (a.width + kBlock - 1) / kBlock) return false;
  if (a.classes < 1 || a.classes > 256 || a.sources < 1 || a.sources > kMostMovedSources) return false;
  if (a.with_logits && (!side(a.logits_height) || !side(a.logits_width))) return false;
  // Places in the logits are counted in 32 bits.
  if (a.with_logits && a.logits_height * a.logits_width * a.classes > INT32_MAX) return false;
  for (int64_t k = 0; k < a.sources; ++k) {
    const MovedLabelsSource& source = a.source[k];
    if (source.labels == nullptr || source.motion == nullptr || source.weight == nullptr) return false;
    if (a.with_logits && source.logits == nullptr) return false;
    if (a.confidence != nullptr && (source.confidence == nullptr || source.factor == nullptr)) return false;
  }
  return true;
}

// The one label of a block's pixels, some of which may lie outside the picture.
uint8_t label_of(int64_t height, int64_t width, const uint8_t* labels, int64_t y, int64_t x) {
  const int64_t rows = std::min(kBlock, height - y), columns = std::min(kBlock, width - x);
  const uint8_t* const first = labels + y * width + x;
  bool uniform = true;
  if (columns == kBlock) {
    const uint64_t eight = 0x0101010101010101u * *first;
    uint64_t apart = 0;
    for (int64_t row = 0; row < rows; ++row) {
      uint64_t here;
      std::memcpy(&here, first + row * width, kBlock);
      apart |= here ^ eight;
    }
    uniform = apart == 0;
  } else {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) uniform = uniform && first[row * width + column] == *first;
    }
  }
  return uniform ? *first : kMixedLabels;
}

}  // namespace
}  // namespace arseg

int arseg_uniform_labels(int64_t height, int64_t width, const uint8_t* labels, uint8_t* uniform) {
  using namespace arseg;
  if (!side(height) || !side(width) || labels == nullptr || uniform == nullptr) return 0;
  const int64_t rows = (height + kBlock - 1) / kBlock, columns = (width + kBlock - 1) / kBlock;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      uniform[r * columns + c] = label_of(height, width, labels, r * kBlock, c * kBlock);
    }
  }
  // Each entry looks at later ones only, which are still those of single blocks.
  for (int64_t r = 0; r < rows; ++r) {
    uint8_t* const here = uniform + r * columns;
    const uint8_t* const below = r + 1 < rows ? here + columns : here;
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t next = c + 1 < columns ? c + 1 : c;
      const uint8_t label = here[c];
      if (here[next] != label || below[c] != label || below[next] != label) here[c] = kMixedLabels;
    }
  }
  return 1;
}

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
