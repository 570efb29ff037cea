// The parts of `runtime/motion` that Python calls the library for (`runtime/motion/native.py`): C functions on plain
// memory, each with the same base name as its Python form, whose results it gives to the bit.
//
// A function returns 1, or 0 where it refuses: it then has written nothing. What it cannot see are the sizes of the
// arrays, which the caller checks. `block_steps.cc` calls kernels; the others have no SIMD level of their own, as memory is
// their limit.

#pragma once

#include <cstdint>

#include "export.h"

namespace arseg {

constexpr int64_t kBlock = 8;            // pixels on a block's side
constexpr int64_t kLargestSide = 16384;  // of a picture; no vector is longer, so that 16 bits hold their sum
constexpr int8_t kIntra = -1;            // the reference of a block that has none

constexpr int64_t blocks_along(int64_t side) { return (side + kBlock - 1) / kBlock; }

// A picture of height × width pixels, and of rows × columns blocks, some of which may reach beyond it.
struct Picture {
  int64_t height, width, rows, columns;

  constexpr bool fits() const {
    return height >= 1 && width >= 1 && height <= kLargestSide && width <= kLargestSide &&
           rows == blocks_along(height) && columns == blocks_along(width);
  }
};

struct Position {
  int16_t x, y;
};
struct Displacement {
  float x, y;
};

// FFmpeg's AVMotionVector.
struct VectorRecord {
  int32_t source;
  uint8_t w, h;
  int16_t src_x, src_y;
  int16_t dst_x, dst_y;
  uint64_t flags;
  int32_t motion_x, motion_y;
  uint16_t motion_scale;
};
static_assert(sizeof(VectorRecord) == 40, "as FFmpeg lays it out");

}  // namespace arseg

// `PublishedChain`: one more frame.
//
// displacement, reference: of its blocks, [rows, columns].
// known: of `known_count` frames, the one before first, each pixel's position in the keyframe, [height, width].
// positions, motion: the same of this frame, and how far it is away, [height, width]; written.
ARSEG_EXPORT int arseg_published(int64_t height, int64_t width, int64_t rows, int64_t columns,
                                 const arseg::Displacement* displacement, const int8_t* reference,
                                 const arseg::Position* const* known, int64_t known_count, arseg::Position* positions,
                                 arseg::Displacement* motion);

// `listed_vectors`: a frame's records on the grid of its blocks, first those of list 0, then those of list 1; both
// arrays [2, rows, columns], written.
ARSEG_EXPORT int arseg_vectors(int64_t height, int64_t width, int64_t rows, int64_t columns,
                               const arseg::VectorRecord* records, int64_t count, arseg::Displacement* displacement,
                               int8_t* reference);

// `block_luma`: the means of a plane's 8×8 blocks, [rows, columns]; `stride` bytes from row to row.
ARSEG_EXPORT int arseg_block_luma(int64_t height, int64_t width, int64_t stride, const uint8_t* plane, uint8_t* means);

// `PastAnchor` and `from_future`: one frame further from an anchor, all arrays [rows, columns]; the last three are written.
ARSEG_EXPORT int arseg_follow(int64_t rows, int64_t columns, int64_t inverse, const arseg::Displacement* known,
                              const arseg::Displacement* step, const uint8_t* anchor, arseg::Displacement* positions,
                              arseg::Displacement* motion, uint8_t* shown);

// `disagreement` of blocks: absolute differences, means over 3×3; [rows, columns].
ARSEG_EXPORT int arseg_difference(int64_t rows, int64_t columns, const uint8_t* luma, const uint8_t* shown,
                                  uint8_t* difference);
