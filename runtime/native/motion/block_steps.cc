// Steps on the grid of blocks, whose work `kernels/block_steps.cc` does.

#include <exception>

#include "kernels/kernels.h"
#include "motion/motion.h"

namespace arseg {
namespace {

constexpr int64_t kFewestBlocks = 4;  // kernels read four bytes at a time

bool fits(int64_t rows, int64_t columns) {
  constexpr int64_t kMost = kLargestSide / kBlock;
  return rows >= 1 && columns >= 1 && rows <= kMost && columns <= kMost;
}

const BlockSteps* steps() {
  try {
    return &choose_kernels().block_steps;
  } catch (const std::exception&) {
    return nullptr;
  }
}

}  // namespace
}  // namespace arseg

int arseg_block_luma(int64_t height, int64_t width, int64_t stride, const uint8_t* plane, uint8_t* means) {
  using namespace arseg;
  const BlockSteps* const level = steps();
  if (!Picture{height, width, blocks_along(height), blocks_along(width)}.fits() || stride < width) return 0;
  if (level == nullptr || !plane || !means) return 0;
  level->block_luma({height, width, stride, plane, means});
  return 1;
}

int arseg_follow(int64_t rows, int64_t columns, int64_t inverse, const arseg::Displacement* known,
                 const arseg::Displacement* step, const uint8_t* anchor, arseg::Displacement* positions,
                 arseg::Displacement* motion, uint8_t* shown) {
  using namespace arseg;
  const BlockSteps* const level = steps();
  if (!fits(rows, columns) || rows * columns < kFewestBlocks || inverse < 0) return 0;
  if (level == nullptr || !known || !step || !anchor || !positions || !motion || !shown) return 0;
  level->follow({rows, columns, inverse, &known->x, &step->x, anchor, &positions->x, &motion->x, shown});
  return 1;
}

int arseg_difference(int64_t rows, int64_t columns, const uint8_t* luma, const uint8_t* shown, uint8_t* difference) {
  using namespace arseg;
  const BlockSteps* const level = steps();
  if (!fits(rows, columns) || level == nullptr || !luma || !shown || !difference) return 0;
  level->difference({rows, columns, luma, shown, difference});
  return 1;
}
