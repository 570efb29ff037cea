// Creff: the whole of CReFF and the final 1×1 convolution, tile by tile, so that no intermediate feature is ever whole.
//
//     keyframe's feature ─ warp ─▶ warped ─ two depthwise 3×3 ─▶ key, value ┐
//     LR feature ─ resize ─▶ resized ─ depthwise 3×3 ─▶ query ──────────────┴─ attention + resized ─ 1×1 ─▶ logits
//
// Two passes over the channels of a tile: the first adds up the scores and keeps the values, the second weighs them.
// Warped and resized rows exist for one channel at a time, in the L1 cache.

#include "kernels/level.h"
#include "kernels/tiles.h"
#include "kernels/warp_plan.h"

namespace arseg {
namespace ARSEG_LEVEL {
namespace {

struct Buffers {
  WarpPlan* warp;     // one for each row of `warped`
  Rows warped;        // one channel; row 0 is pad + 1 above the tile, column 0 pad + 1 left of it
  Rows keys;          // a block of channels; row 0 is pad above the tile, column 0 pad left of it
  Rows values;        // the same of all channels
  Rows resized;       // one channel; row 0 is 1 above the tile, column 0 is 1 left of it
  Rows lr;            // two rows of one channel of the LR feature, resized in x only
  int32_t* lr_first;  // for each column of `resized`, where it lies in an LR row, …
  float* lr_share;    // … and the share of the next pixel
  Rows queries;       // a block of channels; starts where the tile does
  Rows fused;         // a block of channels of the resized LR feature, where the attention is added
  Rows logits;        // [row][class][column]
  TileAttention attention;
};

Buffers lay_out(const CreffArguments& a, const Tiles& tiles, Arena& arena) {
  const int64_t block = smaller(kChannelBlock, a.channels);
  const int64_t key_rows = tiles.tile_rows + a.kernel_size - 1;
  const int64_t columns = round_up(tiles.tile_columns + a.kernel_size + 1, kLanes);
  const int64_t resized_columns = round_up(tiles.tile_columns + 2, kLanes);
  Buffers b;
  b.warp = static_cast<WarpPlan*>(arena.bytes(static_cast<size_t>(key_rows + 2) * sizeof(WarpPlan)));
  for (int64_t r = 0; r < key_rows + 2; ++r) {
    void* const memory = arena.bytes(WarpPlan::bytes(columns));
    if (memory != nullptr) b.warp[r] = warp_plan_in(memory, columns);
  }
  b.warped = rows_in(arena, key_rows + 2, 1, columns);
  b.keys = rows_in(arena, key_rows, block, columns);
  b.values = rows_in(arena, key_rows, a.channels, columns);
  b.resized = rows_in(arena, tiles.tile_rows + 2, 1, resized_columns);
  b.lr = rows_in(arena, 2, 1, resized_columns);
  b.lr_first = reinterpret_cast<int32_t*>(arena.floats(resized_columns));
  b.lr_share = arena.floats(resized_columns);
  b.queries = rows_in(arena, tiles.tile_rows, block, tiles.tile_columns);
  b.logits = rows_in(arena, tiles.tile_rows, a.classes, tiles.tile_columns);
  b.attention = tile_attention_in(arena, tiles, a.kernel_size, columns);
  b.fused = b.queries;  // those are done with by then
  return b;
}

Work plan(const CreffArguments& a) {
  Arena arena(nullptr);
  const Tiles tiles(a.height, a.width);
  lay_out(a, tiles, arena);
  return {a.batch * tiles.across * tiles.down, arena.size()};
}

// One row of Outputs 3×3 convolutions of one channel: output row 0 is the middle of input rows 0 to 2, and output
// column 0 of input columns 0 to 2.
template <int Outputs>
inline void convolve_row(const Rows& input, int64_t row, const float* const (&weights)[Outputs],
                         const float (&biases)[Outputs], int64_t columns, float* const (&outputs)[Outputs]) {
  for (int64_t j = 0; j < columns; j += kLanes) {
    Floats sum[Outputs];
    for (int o = 0; o < Outputs; ++o) sum[o] = splat(biases[o]);
    for (int tap = 0; tap < 9; ++tap) {
      const Floats pixels = load_once(input.at(row + tap / 3, 0) + j + tap % 3);
      for (int o = 0; o < Outputs; ++o) sum[o] += weights[o][tap] * pixels;
    }
    for (int o = 0; o < Outputs; ++o) store(outputs[o] + j, sum[o]);
  }
}

class TileWork {
 public:
  TileWork(const CreffArguments& a, const Buffers& b, const Tile& tile)
      : a_(a), b_(b), tile_(tile), pad_(a.kernel_size / 2), rows_(tile.y_end - tile.y_begin) {}

  void run() {
    plan_warp();
    plan_lr();
    for (int64_t c = 0; c < a_.channels; c += kChannelBlock) {
      const int64_t channels = smaller(kChannelBlock, a_.channels - c);
      for (int64_t i = 0; i < channels; ++i) {
        warp(c + i);
        make_keys_and_values(c + i, i);
        resize(c + i);
        make_queries(c + i, i);
      }
      for_each_vector(tile_, [&](int64_t row, int64_t count, int64_t column) {
        score(b_.attention.at(row, column, channels), b_.queries.at(row, 0) + column, b_.queries.columns,
              b_.queries.row_floats(), count, c == 0, [&](int64_t i) { return b_.keys.at(row + i, 0) + column; });
      });
    }
    for_each_vector(tile_, [&](int64_t row, int64_t count, int64_t column) {
      for (int64_t r = 0; r < count; ++r) softmax(b_.attention.at(row, column, 0), r);
    });
    for (int64_t c = 0; c < a_.channels; c += kChannelBlock) {
      const int64_t channels = smaller(kChannelBlock, a_.channels - c);
      for (int64_t i = 0; i < channels; ++i) {
        resize(c + i);
        for (int64_t r = 0; r < rows_; ++r) {
          write_row(b_.resized.at(r + 1, 0) + 1, b_.fused.columns, b_.fused.at(r, i));
        }
      }
      for_each_vector(tile_,
                      [&](int64_t row, int64_t count, int64_t column) { fuse(c, channels, row, count, column); });
    }
    write_logits();
  }

 private:
  bool inside(int64_t y) const { return y >= 0 && y < a_.height; }

  void plan_warp() {
    const float* motion = a_.motion + tile_.image * a_.motion_height * a_.motion_width * 2;
    for (int64_t r = 0; r < rows_ + a_.kernel_size + 1; ++r) {
      const int64_t y = tile_.y_begin - pad_ - 1 + r;
      if (inside(y)) plan_row(geometry(), motion, y, tile_.x_begin - pad_ - 1, b_.warped.columns, b_.warp[r]);
    }
  }

  WarpGeometry geometry() const { return {a_.height, a_.width, a_.motion_height, a_.motion_width, a_.sampling}; }

  // One channel; the same pixels of the next one are asked for on the way.
  void warp(int64_t c) {
    const int64_t plane_size = a_.height * a_.width, columns = b_.warped.columns;
    const float* const plane = a_.keyframe_feature + (tile_.image * a_.channels + c) * plane_size;
    const float* const ahead = plane + (c + 1 < a_.channels ? plane_size : 0);
    const int64_t right = geometry().step_right(), down = geometry().step_down();
    for (int64_t r = 0; r < rows_ + a_.kernel_size + 1; ++r) {
      float* const output = b_.warped.at(r, 0);
      if (!inside(tile_.y_begin - pad_ - 1 + r)) {
        clear(output, columns);
        continue;
      }
      for (int64_t j = 0; j < columns; j += kLanes) {
        __builtin_prefetch(ahead + down + b_.warp[r].offset[j]);
        store(output + j, sample(plane, right, down, b_.warp[r], j));
      }
      clear_outside(output, columns, tile_.x_begin - pad_ - 1, a_.width);
    }
  }

  // Zeros outside the image, not convolutions of the zeros there.
  void make_keys_and_values(int64_t c, int64_t i) {
    const int64_t columns = b_.keys.columns, x_first = tile_.x_begin - pad_;
    for (int64_t r = 0; r < rows_ + a_.kernel_size - 1; ++r) {
      float *const key = b_.keys.at(r, i), *const value = b_.values.at(r, c);
      if (!inside(tile_.y_begin - pad_ + r)) {
        clear(key, columns);
        clear(value, columns);
        continue;
      }
      convolve_row<2>(b_.warped, r, {a_.key.weight + c * 9, a_.value.weight + c * 9},
                      {a_.key.bias[c], a_.value.bias[c]}, columns, {key, value});
      clear_outside(key, columns, x_first, a_.width);
      clear_outside(value, columns, x_first, a_.width);
    }
  }

  void plan_lr() {
    for (int64_t j = 0; j < b_.resized.columns; ++j) {
      const int64_t x = clamp(tile_.x_begin - 1 + j, 0, a_.width - 1);
      const Neighbours column = corners_aligned(x, a_.lr_width, a_.width);
      b_.lr_first[j] = static_cast<int32_t>(column.first);
      b_.lr_share[j] = static_cast<float>(column.share);
    }
  }

  // Resizes row `index` of an LR plane in x; the same row of the next channel is asked for on the way.
  void resize_row(const float* plane, int64_t index, int64_t next_plane) {
    const float* const from = plane + index * a_.lr_width;
    float* const to = b_.lr.at(index % 2, 0);
    const int32_t last = static_cast<int32_t>(a_.lr_width - 1);
    for (int64_t j = 0; j < b_.lr.columns; j += kLanes) {
      const int32_t base = b_.lr_first[j], reach = b_.lr_first[j + kLanes - 1] - base;
      const Ints first = load(b_.lr_first + j);
      __builtin_prefetch(from + next_plane + base);
      Floats left, right;
      if (reach < kLanes && base + kLanes <= last) {
        left = permute(from + base, first - base);
        right = permute(from + base + 1, first - base);
      } else {
        left = gather(from, first);
        right = gather(from, first < last ? first + 1 : first);
      }
      store(to + j, left + (right - left) * load(b_.lr_share + j));
    }
  }

  void resize(int64_t c) {
    const int64_t plane_size = a_.lr_height * a_.lr_width, columns = b_.resized.columns;
    const float* const plane = a_.lr_feature + (tile_.image * a_.channels + c) * plane_size;
    const int64_t next_plane = c + 1 < a_.channels ? plane_size : 0;
    int64_t held[2] = {-1, -1};  // which LR rows `lr` has
    for (int64_t r = 0; r < rows_ + 2; ++r) {
      const int64_t y = tile_.y_begin - 1 + r;
      float* const output = b_.resized.at(r, 0);
      if (!inside(y)) {
        clear(output, columns);
        continue;
      }
      const Neighbours rows = corners_aligned(y, a_.lr_height, a_.height);
      const int64_t both[2] = {rows.first, rows.second};
      for (const int64_t index : both) {
        if (held[index % 2] != index) resize_row(plane, index, next_plane);
        held[index % 2] = index;
      }
      const float *upper = b_.lr.at(rows.first % 2, 0), *lower = b_.lr.at(rows.second % 2, 0);
      const Floats share = splat(static_cast<float>(rows.share));
      for (int64_t j = 0; j < columns; j += kLanes) {
        store(output + j, load(upper + j) + (load(lower + j) - load(upper + j)) * share);
      }
      clear_outside(output, columns, tile_.x_begin - 1, a_.width);
    }
  }

  void make_queries(int64_t c, int64_t i) {
    for (int64_t r = 0; r < rows_; ++r) {
      convolve_row<1>(b_.resized, r, {a_.query.weight + c * 9}, {a_.query.bias[c]}, b_.queries.columns,
                      {b_.queries.at(r, i)});
    }
  }

  void fuse(int64_t c, int64_t channels, int64_t row, int64_t count, int64_t column) {
    const Attention attention = b_.attention.at(row, column, channels);
    for (int64_t i = 0; i < channels; ++i) {
      for (int64_t r = 0; r < count; ++r) {
        store(attention.sums + (i * kQueryRows + r) * kLanes, load(b_.fused.at(row + r, i) + column));
      }
    }
    weigh(attention, count, [&](int64_t i) { return b_.values.at(row + i, c) + column; });
    constexpr int kClassBlock = 4;
    int64_t n = 0;
    for (; n + kClassBlock <= a_.classes; n += kClassBlock) classify<kClassBlock>(attention, n, c, row, count, column);
    for (; n < a_.classes; ++n) classify<1>(attention, n, c, row, count, column);
  }

  // Adds what a block of channels contributes to some classes' logits.
  template <int Classes>
  void classify(const Attention& attention, int64_t first_class, int64_t c, int64_t row, int64_t count,
                int64_t column) {
    const float* weight = a_.head_weight + first_class * a_.channels + c;
    Floats sum[Classes][kQueryRows];
    for (int n = 0; n < Classes; ++n) {
      for (int r = 0; r < kQueryRows; ++r) {
        const bool first = c == 0 || r >= count;
        sum[n][r] =
            first ? splat(a_.head_bias[first_class + n]) : load(b_.logits.at(row + r, first_class + n) + column);
      }
    }
    const float* fused = attention.sums;
    for (int64_t i = 0; i < attention.channels; ++i, fused += kQueryRows * kLanes) {
      Floats pixels[kQueryRows];
      for (int r = 0; r < kQueryRows; ++r) pixels[r] = load_once(fused + r * kLanes);
      for (int n = 0; n < Classes; ++n) {
        for (int r = 0; r < kQueryRows; ++r) sum[n][r] += weight[n * a_.channels + i] * pixels[r];
      }
    }
    for (int n = 0; n < Classes; ++n) {
      for (int64_t r = 0; r < count; ++r) store(b_.logits.at(row + r, first_class + n) + column, sum[n][r]);
    }
  }

  void write_logits() {
    for (int64_t n = 0; n < a_.classes; ++n) {
      float* const plane = a_.output + (tile_.image * a_.classes + n) * a_.height * a_.width;
      for (int64_t r = 0; r < rows_; ++r) {
        write_row(b_.logits.at(r, n), tile_.x_end - tile_.x_begin,
                  plane + (tile_.y_begin + r) * a_.width + tile_.x_begin);
      }
    }
  }

  const CreffArguments& a_;
  const Buffers& b_;
  const Tile& tile_;
  const int64_t pad_, rows_;
};

void run(const CreffArguments& a, int64_t task, void* scratch) {
  Arena arena(scratch);
  const Tiles tiles(a.height, a.width);
  const Buffers b = lay_out(a, tiles, arena);
  const Tile tile = tiles.tile(task);
  TileWork(a, b, tile).run();
}

}  // namespace

const Kernel<CreffArguments> creff_kernel = {plan, run};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
