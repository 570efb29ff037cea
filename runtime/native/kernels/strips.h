// How Creff goes through an image: in tiles, each from top to bottom in strips of kStripRows rows. Keys and values of
// all channels are kept for the rows that a strip sees, and for no others, so that they stay in the caches.

#pragma once

#include "kernels/attention.h"
#include "kernels/memory.h"
#include "kernels/tiles.h"

namespace arseg {
namespace ARSEG_LEVEL {

constexpr int64_t kStripRows = 2 * kQueryRows;  // many channels' keys come from beyond L2: fewer strips read them less
constexpr int64_t kMostRingBytes = 7 << 20;  // of keys and values; narrower tiles, less of whose work is shared, lose
constexpr int64_t kMostStripColumns = 128;
constexpr int64_t kLeastTileRows = 24;  // what is above a tile's first row is made for it alone …
constexpr int64_t kMostTileRows = 96;
constexpr int64_t kWantedTiles = 16;    // … but threads need enough tiles
constexpr int64_t kStripChannels = 32;  // at a time: a row of their keys fits into the L1 cache

// Cuts an image into tiles of whole strips and whole vectors.
inline Tiles strip_tiles(int64_t batch, int64_t channels, int64_t ring_rows, int64_t height, int64_t width) {
  const int64_t column_bytes = 2 * ring_rows * channels * static_cast<int64_t>(sizeof(float));
  const int64_t most_columns = clamp(kMostRingBytes / column_bytes / kLanes * kLanes, kLanes, kMostStripColumns);
  const int64_t across = divide_up(width, most_columns);
  const int64_t down = clamp(divide_up(kWantedTiles, batch * across), divide_up(height, kMostTileRows),
                             divide_up(height, kLeastTileRows));
  return Tiles(height, width, round_up(divide_up(height, down), kStripRows),
               round_up(divide_up(width, across), kLanes));
}

// Rows in the ring for a strip and what it sees above and below. They are made a strip at a time.
inline int64_t ring_rows(int64_t kernel_size) { return round_up(kernel_size - 1 + kStripRows, kStripRows); }

// Rows that are written or read side by side lie a few cache lines more than a power of two apart: otherwise they would
// all want the same few places in the L1 cache.
constexpr int64_t kApart = 48;  // floats

// Rows of keys or values, [row][channel][column], each in the place of the one that is `rows` above it. The rows of a
// strip lie one after the other.
struct Ring {
  float* data;
  int64_t rows, columns, row_floats;

  float* at(int64_t row, int64_t channel) const { return data + row % rows * row_floats + channel * columns; }
};

inline Ring ring_in(Arena& arena, int64_t rows, int64_t channels, int64_t columns) {
  const int64_t row_floats = channels * columns + kApart;
  return {arena.floats(rows * row_floats), rows, columns, row_floats};
}

// The pixels of a strip, [group of kQueryRows rows][vector][channel][kQueryRows][kLanes].
struct Strip {
  float* data;
  int64_t vectors, vector_floats;

  float* at(int64_t row, int64_t vector, int64_t channel) const {
    return data + (row / kQueryRows * vectors + vector) * vector_floats + channel * kPixelFloats +
           row % kQueryRows * kLanes;
  }
};

inline Strip strip_in(Arena& arena, int64_t vectors, int64_t channels) {
  const int64_t vector_floats = channels * kPixelFloats + kApart;
  return {arena.floats(kStripRows / kQueryRows * vectors * vector_floats), vectors, vector_floats};
}

}  // namespace ARSEG_LEVEL
}  // namespace arseg
