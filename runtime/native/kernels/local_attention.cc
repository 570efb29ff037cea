// LocalAttention: softmax over the dot products of a query with the keys around it, weighting the values.
//
// A tile is small enough that the scores of all its pixels stay in the L2 cache while the channels pass by, a block of
// them at a time, with room for the next block, which is fetched meanwhile.

#include "kernels/level.h"
#include "kernels/memory.h"
#include "kernels/tiles.h"

namespace arseg {
namespace ARSEG_LEVEL {
namespace {

constexpr int64_t kTileRows = 15;
constexpr int64_t kTileColumns = 128;
constexpr int64_t kChannelBlock = 16;
constexpr int64_t kLineFloats = 16;  // of a cache line

Tiles tiles_of(const LocalAttentionArguments& a) {
  const int64_t rows = divide_up(a.height, divide_up(a.height, kTileRows));
  const int64_t columns = divide_up(a.width, divide_up(a.width, kTileColumns));
  return Tiles(a.height, a.width, round_up(rows, kQueryRows), round_up(columns, kLanes));
}

// Rows of several channels of a tile and what is around it: [row][channel][column].
struct Rows {
  float* data;
  int64_t channels, columns;

  float* at(int64_t row, int64_t channel) const { return data + (row * channels + channel) * columns; }
  int64_t row_floats() const { return channels * columns; }
};

Rows rows_in(Arena& arena, int64_t rows, int64_t channels, int64_t columns) {
  return {arena.floats(rows * channels * columns), channels, columns};
}

// Calls `each(row, rows)` for every group of rows of a tile, counted from its top.
template <typename Each>
void for_each_group(const Tile& tile, const Each& each) {
  const int64_t height = tile.y_end - tile.y_begin;
  for (int64_t row = 0; row < height; row += kQueryRows) each(row, smaller(kQueryRows, height - row));
}

struct Buffers {
  Rows keys;      // or values, a block of channels; row 0 is pad above the tile, column 0 pad left of it
  Rows queries;   // or results
  float* scores;  // of one group of rows after the other

  template <typename Float>
  Pixels<Float> pixels(int64_t row) const {
    return {queries.at(row, 0), queries.columns, queries.row_floats(), kLanes};
  }
  // Of the group at `row`.
  Attention attention(int64_t row, int64_t channels, int64_t kernel_size) const {
    const int64_t vectors = queries.columns / kLanes;
    return {vectors, channels, kernel_size, keys.columns,
            scores + row / kQueryRows * vectors * Attention::score_floats(kernel_size)};
  }
};

Buffers lay_out(const LocalAttentionArguments& a, const Tiles& tiles, Arena& arena) {
  const int64_t block = smaller(kChannelBlock, a.channels);
  const int64_t columns = round_up(tiles.tile_columns + a.kernel_size - 1, kLanes);
  Buffers b;
  b.keys = rows_in(arena, tiles.tile_rows + a.kernel_size - 1, block, columns);
  b.queries = rows_in(arena, tiles.tile_rows, block, tiles.tile_columns);
  b.scores = arena.floats(tiles.tile_rows / kQueryRows * tiles.vectors() * Attention::score_floats(a.kernel_size));
  return b;
}

Work plan(const LocalAttentionArguments& a) {
  Arena arena(nullptr);
  const Tiles tiles = tiles_of(a);
  lay_out(a, tiles, arena);
  return {a.batch * tiles.across * tiles.down, arena.size()};
}

// `rows` rows of one channel from row y on, zeros where the image has none. The same pixels of the next channel are
// asked for on the way.
void copy_rows(const float* plane, const LocalAttentionArguments& a, int64_t y, int64_t rows, int64_t x_first,
               const Rows& to, int64_t channel) {
  for (int64_t r = 0; r < rows; ++r) {
    if (y + r >= 0 && y + r < a.height) {
      const float* const row = plane + (y + r) * a.width;
      for (int64_t j = 0; j < to.columns; j += kLineFloats) {
        __builtin_prefetch(row + a.height * a.width + larger(x_first, 0) + j, 0, 2);
      }
      copy_row(row, a.width, x_first, to.columns, to.at(r, channel));
    } else {
      clear(to.at(r, channel), to.columns);
    }
  }
}

void run(const LocalAttentionArguments& a, int64_t task, void* scratch) {
  Arena arena(scratch);
  const Tiles tiles = tiles_of(a);
  const Buffers b = lay_out(a, tiles, arena);
  const Tile tile = tiles.tile(task);
  const int64_t pad = a.kernel_size / 2, plane_size = a.height * a.width;
  const int64_t image = tile.image * a.channels * plane_size;
  const int64_t rows = tile.y_end - tile.y_begin, rows_around = rows + a.kernel_size - 1;
  // Of a group of query rows that sees rows i of the keys, the first few i stand for the queries or results themselves.
  const auto later = [&](const float* planes, int64_t row) {
    const int64_t y = clamp(tile.y_begin + row, 0, a.height - 1);
    return Later{planes + image + y * a.width + tile.x_begin, plane_size};
  };

  for (int64_t c = 0; c < a.channels; c += kChannelBlock) {
    const int64_t channels = smaller(kChannelBlock, a.channels - c);
    for (int64_t i = 0; i < channels; ++i) {
      const int64_t plane = image + (c + i) * plane_size;
      copy_rows(a.key + plane, a, tile.y_begin - pad, rows_around, tile.x_begin - pad, b.keys, i);
      copy_rows(a.query + plane, a, tile.y_begin, rows, tile.x_begin, b.queries, i);
    }
    for_each_group(tile, [&](int64_t row, int64_t count) {
      score(b.attention(row, channels, a.kernel_size), b.pixels<const float>(row), count, c == 0,
            [&](int64_t i) {
              const bool last = c + channels == a.channels, query = i < kQueryRows && !last;
              const float* const next = last ? a.value : (query ? a.query : a.key) + (c + channels) * plane_size;
              return WindowRow{b.keys.at(row + i, 0), later(next, row + (query ? i : i - pad))};
            });
    });
  }
  for_each_group(tile, [&](int64_t row, int64_t count) { softmax(b.attention(row, 0, a.kernel_size), count); });
  for (int64_t c = 0; c < a.channels; c += kChannelBlock) {
    const int64_t channels = smaller(kChannelBlock, a.channels - c);
    for (int64_t i = 0; i < channels; ++i) {
      copy_rows(a.value + image + (c + i) * plane_size, a, tile.y_begin - pad, rows_around, tile.x_begin - pad, b.keys,
                i);
    }
    for_each_group(tile, [&](int64_t row, int64_t count) {
      clear(b.queries.at(row, 0), count * b.queries.row_floats());
      weigh(b.attention(row, channels, a.kernel_size), b.pixels<float>(row), count,
            [&](int64_t i) {
              const bool result = i < kQueryRows;  // to write to
              const float* const next = result ? a.output + c * plane_size : a.value + (c + channels) * plane_size;
              return WindowRow{b.keys.at(row + i, 0), later(next, row + (result ? i : i - pad))};
            });
    });
    for (int64_t i = 0; i < channels; ++i) {
      float* const output = a.output + image + (c + i) * plane_size + tile.y_begin * a.width + tile.x_begin;
      for (int64_t r = 0; r < rows; ++r) {
        write_row(b.queries.at(r, i), tile.x_end - tile.x_begin, output + r * a.width);
      }
    }
  }
}

}  // namespace

const Kernel<LocalAttentionArguments> local_attention_kernel = {plan, run};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
