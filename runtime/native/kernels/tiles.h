// How the attention kernels cut up an image. A tile is small enough that the scores of all its pixels stay in the L2
// cache while the channels pass by, a block of them at a time; each channel's part is then read from memory in one go.

#pragma once

#include "kernels/attention.h"
#include "kernels/memory.h"

namespace arseg {
namespace ARSEG_LEVEL {

constexpr int64_t kTileRows = 24;
constexpr int64_t kTileColumns = 128;
constexpr int64_t kChannelBlock = 32;

// A part of one image.
struct Tile {
  int64_t image;
  int64_t x_begin, x_end;
  int64_t y_begin, y_end;
};

struct Tiles {
  int64_t height, width;  // of the image
  int64_t tile_rows;      // a multiple of kQueryRows
  int64_t tile_columns;   // a multiple of kLanes
  int64_t across, down;

  Tiles(int64_t image_height, int64_t image_width) : height(image_height), width(image_width) {
    across = (width + kTileColumns - 1) / kTileColumns;
    tile_columns = round_up((width + across - 1) / across, kLanes);
    down = (height + kTileRows - 1) / kTileRows;
    tile_rows = round_up((height + down - 1) / down, kQueryRows);
    across = (width + tile_columns - 1) / tile_columns;
    down = (height + tile_rows - 1) / tile_rows;
  }
  Tile tile(int64_t task) const {
    const int64_t x = task % across * tile_columns, y = task / across % down * tile_rows;
    return {task / across / down, x, smaller(x + tile_columns, width), y, smaller(y + tile_rows, height)};
  }
};

// Rows of several channels of a tile and what is around it: [row][channel][column].
struct Rows {
  float* data;
  int64_t channels, columns;

  float* at(int64_t row, int64_t channel) const { return data + (row * channels + channel) * columns; }
  int64_t row_floats() const { return channels * columns; }
};

inline Rows rows_in(Arena& arena, int64_t rows, int64_t channels, int64_t columns) {
  return {arena.floats(rows * channels * columns), channels, columns};
}

// The attention of a tile: one `Attention` for each column of vectors in each group of kQueryRows rows.
struct TileAttention {
  Attention attention;
  int64_t vectors;

  Attention at(int64_t row, int64_t column, int64_t channels) const {
    Attention a = attention;
    a.channels = channels;
    a.scores += (row / kQueryRows * vectors + column / kLanes) * Attention::score_floats(a.kernel_size);
    return a;
  }
};

inline TileAttention tile_attention_in(Arena& arena, const Tiles& tiles, int64_t kernel_size, int64_t key_columns) {
  const int64_t vectors = tiles.tile_columns / kLanes;
  const int64_t scores = tiles.tile_rows / kQueryRows * vectors * Attention::score_floats(kernel_size);
  return {{0, kernel_size, key_columns, arena.floats(scores), arena.floats(Attention::sum_floats(kChannelBlock))},
          vectors};
}

// Calls `each(row, rows, column)` for every group of rows and vector of columns of a tile, counted from its corner.
template <typename Each>
inline void for_each_vector(const Tile& tile, const Each& each) {
  const int64_t height = tile.y_end - tile.y_begin;
  for (int64_t row = 0; row < height; row += kQueryRows) {
    for (int64_t column = 0; column < tile.x_end - tile.x_begin; column += kLanes) {
      each(row, smaller(kQueryRows, height - row), column);
    }
  }
}

}  // namespace ARSEG_LEVEL
}  // namespace arseg
