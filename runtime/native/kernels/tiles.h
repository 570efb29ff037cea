// Parts of an image that threads work on.

#pragma once

#include "kernels/attention.h"

namespace arseg {
namespace ARSEG_LEVEL {

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

  Tiles(int64_t image_height, int64_t image_width, int64_t rows, int64_t columns)
      : height(image_height), width(image_width), tile_rows(rows), tile_columns(columns) {
    across = divide_up(width, tile_columns);
    down = divide_up(height, tile_rows);
  }
  int64_t vectors() const { return tile_columns / kLanes; }
  Tile tile(int64_t task) const {
    const int64_t x = task % across * tile_columns, y = task / across % down * tile_rows;
    return {task / across / down, x, smaller(x + tile_columns, width), y, smaller(y + tile_rows, height)};
  }
};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
