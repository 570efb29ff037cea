// Creff: the whole of CReFF and the final 1×1 convolution, tile by tile, so that no intermediate feature is ever whole.
//
//     keyframe's feature ─ warp ─▶ warped ─ two depthwise 3×3 ─▶ key, value ┐
//     LR feature ─ resize ─▶ resized ─ depthwise 3×3 ─▶ query ──────────────┴─ attention + resized ─ 1×1 ─▶ logits
//
// Warped and resized rows exist for one channel at a time, in the L1 cache; the last two of each channel are kept for
// the strip below, whose convolutions see them.

#include <type_traits>

#include "kernels/level.h"
#include "kernels/strips.h"
#include "kernels/warp_plan.h"

namespace arseg {
namespace ARSEG_LEVEL {
namespace {

constexpr int64_t kAskedAhead = 4;  // channels

// The rows of one channel that a strip's 3×3 convolutions see: two kept from the strip above, the others new.
struct SeenRows {
  const float* row[2 + kStripRows];
};

// [channel][row][column]
struct Planes {
  float* data;
  int64_t rows, columns;

  float* at(int64_t channel, int64_t row) const { return data + (channel * rows + row) * columns; }
};

inline Planes planes_in(Arena& arena, int64_t channels, int64_t rows, int64_t columns) {
  return {arena.floats(channels * rows * columns), rows, columns};
}

struct Buffers {
  WarpPlan warp[kStripRows];  // of the strip's new rows
  Planes warped;              // one channel's new rows; column 0 is pad + 1 left of the tile
  Planes warped_above;        // two rows of every channel
  Ring keys, values;          // row 0 is pad above the tile, column 0 pad left of it
  Planes resized;             // one channel's new rows; column 0 is 1 left of the tile
  Planes resized_above;       // two rows of every channel
  Planes lr;                  // two rows of one channel of the LR feature, resized in x only
  int32_t* lr_first;          // for each column of `resized`, where it lies in an LR row, …
  float* lr_share;            // … and the share of the next pixel
  Strip queries;
  Strip fused;    // the resized LR feature, where the attention is added
  float* scores;  // of one group of rows
  float* logits;  // [class][kQueryRows][kLanes]
};

Tiles tiles_of(const CreffArguments& a) {
  return strip_tiles(a.batch, a.channels, ring_rows(a.kernel_size), a.height, a.width);
}

Buffers lay_out(const CreffArguments& a, const Tiles& tiles, Arena& arena) {
  const int64_t rows = ring_rows(a.kernel_size);
  const int64_t columns = round_up(tiles.tile_columns + a.kernel_size + 1, kLanes);
  const int64_t resized_columns = round_up(tiles.tile_columns + 2, kLanes);
  Buffers b;
  for (WarpPlan& plan : b.warp) {
    void* const memory = arena.bytes(WarpPlan::bytes(columns));
    if (memory != nullptr) plan = warp_plan_in(memory, columns);
  }
  b.warped = planes_in(arena, 1, kStripRows, columns);
  b.warped_above = planes_in(arena, a.channels, 2, columns);
  b.keys = ring_in(arena, rows, a.channels, columns);
  b.values = ring_in(arena, rows, a.channels, columns);
  b.resized = planes_in(arena, 1, kStripRows, resized_columns);
  b.resized_above = planes_in(arena, a.channels, 2, resized_columns);
  b.lr = planes_in(arena, 1, 2, resized_columns);
  b.lr_first = reinterpret_cast<int32_t*>(arena.floats(resized_columns));
  b.lr_share = arena.floats(resized_columns);
  b.queries = strip_in(arena, tiles.vectors(), a.channels);
  b.fused = strip_in(arena, tiles.vectors(), a.channels);
  b.scores = arena.floats(tiles.vectors() * Attention::score_floats(a.kernel_size));
  b.logits = arena.floats(a.classes * kPixelFloats);
  return b;
}

Work plan(const CreffArguments& a) {
  Arena arena(nullptr);
  const Tiles tiles = tiles_of(a);
  lay_out(a, tiles, arena);
  return {a.batch * tiles.across * tiles.down, arena.size()};
}

// A strip of Outputs 3×3 convolutions of one channel: output column 0 is the middle of input columns 0 to 2. Calls
// `put(output, row, column, pixels)` for every vector. The compiler has to be told to unroll, or the sums are in
// memory.
template <int Outputs, typename Put>
inline void convolve(const SeenRows& input, const float* const (&weights)[Outputs], const float (&biases)[Outputs],
                     int64_t columns, const Put& put) {
  constexpr int kRows = 3;  // at a time
  Floats weight[Outputs][9];
  for (int o = 0; o < Outputs; ++o) {
    for (int tap = 0; tap < 9; ++tap) weight[o][tap] = splat(weights[o][tap]);
  }
  for (int64_t row = 0; row < kStripRows; row += kRows) {
    for (int64_t j = 0; j < columns; j += kLanes) {
      Floats sum[kRows][Outputs];
      for (int r = 0; r < kRows; ++r) {
        for (int o = 0; o < Outputs; ++o) sum[r][o] = splat(biases[o]);
      }
#pragma GCC unroll 5
      for (int y = 0; y < kRows + 2; ++y) {
#pragma GCC unroll 3
        for (int x = 0; x < 3; ++x) {
          const Floats pixels = load_once(input.row[row + y] + j + x);
#pragma GCC unroll 3
          for (int r = 0; r < kRows; ++r) {
            if (y < r || y > r + 2) continue;
            for (int o = 0; o < Outputs; ++o) sum[r][o] += weight[o][(y - r) * 3 + x] * pixels;
          }
        }
      }
      for (int r = 0; r < kRows; ++r) {
        for (int o = 0; o < Outputs; ++o) put(o, row + r, j, sum[r][o]);
      }
    }
  }
}

class TileWork {
 public:
  TileWork(const CreffArguments& a, const Buffers& b, const Tile& tile)
      : a_(a), b_(b), tile_(tile), pad_(a.kernel_size / 2) {}

  void run() {
    plan_lr();
    const int64_t made_ahead = b_.keys.rows - kStripRows;  // rows of keys before the first strip is complete
    plan_warp(-1, 2);
    for (int64_t c = 0; c < a_.channels; ++c) {
      warp(c, -1, 2, b_.warped_above.at(c, 0));
      resize(c, tile_.y_begin - 1, 2, b_.resized_above.at(c, 0));
    }
    plan_warp(1, kStripRows);
    for (int64_t y = tile_.y_begin - made_ahead; y < tile_.y_end; y += kStripRows) {
      const int64_t ring_row = y - tile_.y_begin + made_ahead;
      for (int64_t c = 0; c < a_.channels; ++c) make_keys_and_values(c, ring_row);
      plan_warp(ring_row + kStripRows + 1, kStripRows);
      if (y < tile_.y_begin) continue;
      for (int64_t c = 0; c < a_.channels; ++c) make_queries(c, y);
      for (int64_t r = 0; r < smaller(kStripRows, tile_.y_end - y); r += kQueryRows) attend(y, r);
    }
  }

 private:
  bool inside(int64_t y) const { return y >= 0 && y < a_.height; }

  // `row` here and in `warp` is counted as in the ring of keys.
  void plan_warp(int64_t row, int64_t rows) {
    const float* motion = a_.motion + tile_.image * a_.motion_height * a_.motion_width * 2;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t y = tile_.y_begin - pad_ + row + r;
      if (inside(y)) plan_row(geometry(), motion, y, tile_.x_begin - pad_ - 1, b_.warped.columns, b_.warp[r]);
    }
  }

  WarpGeometry geometry() const { return {a_.height, a_.width, a_.motion_height, a_.motion_width, a_.sampling}; }

  // The rows that are planned, of one channel; the same pixels of one further on are asked for on the way.
  void warp(int64_t c, int64_t row, int64_t rows, float* output) {
    const int64_t plane_size = a_.height * a_.width, columns = b_.warped.columns;
    const int64_t right = geometry().step_right(), down = geometry().step_down();
    const int64_t index = tile_.image * a_.channels + c;
    with_plane(a_.keyframe_feature, c, index, plane_size, [&](const auto* plane, float zero, float scale) {
      using Pixel = std::remove_const_t<std::remove_pointer_t<decltype(plane)>>;
      const Pixel* const ahead = plane + smaller(kAskedAhead, a_.channels - 1 - c) * plane_size;
      for (int64_t r = 0; r < rows; ++r, output += columns) {
        if (!inside(tile_.y_begin - pad_ + row + r)) {
          clear(output, columns);
          continue;
        }
        for (int64_t j = 0; j < columns; j += kLanes) {
          ask_for_samples(ahead + down, b_.warp[r], j);
          store(output + j, scaled<Pixel>(sample(plane, right, down, b_.warp[r], j, zero), scale));
        }
        clear_outside(output, columns, tile_.x_begin - pad_ - 1, a_.width);
      }
    });
  }

  static SeenRows seen(const Planes& above, int64_t c, const Planes& rows) {
    SeenRows result{{above.at(c, 0), above.at(c, 1)}};
    for (int r = 0; r < kStripRows; ++r) result.row[2 + r] = rows.at(0, r);
    return result;
  }

  static void keep(const Planes& rows, int64_t c, const Planes& above) {
    for (int64_t j = 0; j < 2 * rows.columns; j += kLanes)
      store(above.at(c, 0) + j, load(rows.at(0, kStripRows - 2) + j));
  }

  // Zeros outside the image, not convolutions of the zeros there.
  void make_keys_and_values(int64_t c, int64_t row) {
    const int64_t columns = b_.keys.columns;
    warp(c, row + 1, kStripRows, b_.warped.at(0, 0));
    float* const made[2] = {b_.keys.at(row, c), b_.values.at(row, c)};
    const int64_t row_floats = b_.keys.row_floats;
    convolve<2>(seen(b_.warped_above, c, b_.warped), {a_.key.weight + c * 9, a_.value.weight + c * 9},
                {a_.key.bias[c], a_.value.bias[c]}, columns,
                [&](int o, int64_t r, int64_t j, Floats pixels) { store(made[o] + r * row_floats + j, pixels); });
    keep(b_.warped, c, b_.warped_above);
    for (float* const first : made) {
      for (int64_t r = 0; r < kStripRows; ++r) {
        if (inside(tile_.y_begin - pad_ + row + r)) {
          clear_outside(first + r * row_floats, columns, tile_.x_begin - pad_, a_.width);
        } else {
          clear(first + r * row_floats, columns);
        }
      }
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
    float* const to = b_.lr.at(0, index % 2);
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

  // Rows y to y + rows − 1 of one channel.
  void resize(int64_t c, int64_t y, int64_t rows, float* output) {
    const int64_t plane_size = a_.lr_height * a_.lr_width, columns = b_.resized.columns;
    const float* const plane = a_.lr_feature + (tile_.image * a_.channels + c) * plane_size;
    const int64_t next_plane = c + 1 < a_.channels ? plane_size : 0;
    int64_t held[2] = {-1, -1};  // which LR rows `lr` has
    for (int64_t r = 0; r < rows; ++r, output += columns) {
      if (!inside(y + r)) {
        clear(output, columns);
        continue;
      }
      const Neighbours lr_rows = corners_aligned(y + r, a_.lr_height, a_.height);
      const int64_t both[2] = {lr_rows.first, lr_rows.second};
      for (const int64_t index : both) {
        if (held[index % 2] != index) resize_row(plane, index, next_plane);
        held[index % 2] = index;
      }
      const float *upper = b_.lr.at(0, lr_rows.first % 2), *lower = b_.lr.at(0, lr_rows.second % 2);
      const Floats share = splat(static_cast<float>(lr_rows.share));
      for (int64_t j = 0; j < columns; j += kLanes) {
        store(output + j, load(upper + j) + (load(lower + j) - load(upper + j)) * share);
      }
      clear_outside(output, columns, tile_.x_begin - 1, a_.width);
    }
  }

  void make_queries(int64_t c, int64_t y) {
    resize(c, y + 1, kStripRows, b_.resized.at(0, 0));
    const SeenRows rows = seen(b_.resized_above, c, b_.resized);
    convolve<1>(rows, {a_.query.weight + c * 9}, {a_.query.bias[c]}, tile_.x_end - tile_.x_begin,
                [&](int, int64_t r, int64_t j, Floats pixels) {
                  store(b_.queries.at(r, j / kLanes, c), pixels);
                  store(b_.fused.at(r, j / kLanes, c), load(rows.row[r + 1] + j + 1));
                });
    keep(b_.resized, c, b_.resized_above);
  }

  // kQueryRows rows of the strip at y, from its row `row` on.
  void attend(int64_t y, int64_t row) {
    const int64_t rows = smaller(kQueryRows, tile_.y_end - y - row), ring_row = y + row - tile_.y_begin;
    const int64_t vectors = divide_up(tile_.x_end - tile_.x_begin, kLanes);
    const auto block = [&](int64_t c) {
      return Attention{vectors, smaller(kStripChannels, a_.channels - c), a_.kernel_size, b_.keys.columns, b_.scores};
    };
    // Row i of a block of channels; later comes the ring's next block, after the last the other ring's first.
    const auto seen_row = [&](const Ring& ring, const Ring& other, int64_t c, int64_t i) {
      const int64_t next = c + kStripChannels;
      const float* const later = next < a_.channels ? ring.at(ring_row + i, next) : other.at(ring_row + i, 0);
      return WindowRow{ring.at(ring_row + i, c), {later, ring.columns}};
    };
    for (int64_t c = 0; c < a_.channels; c += kStripChannels) {
      score(block(c), {b_.queries.at(row, 0, c), kPixelFloats, kLanes, b_.queries.vector_floats}, rows, c == 0,
            [&](int64_t i) { return seen_row(b_.keys, b_.values, c, i); });
    }
    softmax(block(0), rows);
    for (int64_t c = 0; c < a_.channels; c += kStripChannels) {
      const Sums sums = {b_.fused.at(row, 0, c), kPixelFloats, kLanes, b_.fused.vector_floats};
      weigh(block(c), sums, rows, [&](int64_t i) { return seen_row(b_.values, b_.keys, c, i); });
    }
    for (int64_t v = 0; v < vectors; ++v) {
      const float* const fused = b_.fused.at(row, v, 0);
      constexpr int kClassBlock = 4;
      int64_t n = 0;
      for (; n + kClassBlock <= a_.classes; n += kClassBlock) classify<kClassBlock>(fused, n);
      for (; n < a_.classes; ++n) classify<1>(fused, n);
      write_logits(y + row, rows, tile_.x_begin + v * kLanes);
    }
  }

  template <int Classes>
  void classify(const float* fused, int64_t first_class) {
    const float* weight = a_.head_weight + first_class * a_.channels;
    Floats sum[Classes][kQueryRows];
    for (int n = 0; n < Classes; ++n) {
      for (int r = 0; r < kQueryRows; ++r) sum[n][r] = splat(a_.head_bias[first_class + n]);
    }
    for (int64_t i = 0; i < a_.channels; ++i, fused += kPixelFloats) {
      Floats pixels[kQueryRows];
      for (int r = 0; r < kQueryRows; ++r) pixels[r] = load_once(fused + r * kLanes);
      for (int n = 0; n < Classes; ++n) {
        for (int r = 0; r < kQueryRows; ++r) sum[n][r] += weight[n * a_.channels + i] * pixels[r];
      }
    }
    float* const logits = b_.logits + first_class * kPixelFloats;
    for (int n = 0; n < Classes; ++n) {
      for (int r = 0; r < kQueryRows; ++r) store(logits + n * kPixelFloats + r * kLanes, sum[n][r]);
    }
  }

  void write_logits(int64_t y, int64_t rows, int64_t x) {
    for (int64_t n = 0; n < a_.classes; ++n) {
      float* const output = a_.output + ((tile_.image * a_.classes + n) * a_.height + y) * a_.width + x;
      for (int64_t r = 0; r < rows; ++r) {
        store_first(output + r * a_.width, load(b_.logits + n * kPixelFloats + r * kLanes),
                    smaller(kLanes, tile_.x_end - x));
      }
    }
  }

  const CreffArguments& a_;
  const Buffers& b_;
  const Tile& tile_;
  const int64_t pad_;
};

void run(const CreffArguments& a, int64_t task, void* scratch) {
  Arena arena(scratch);
  const Tiles tiles = tiles_of(a);
  const Buffers b = lay_out(a, tiles, arena);
  const Tile tile = tiles.tile(task);
  TileWork(a, b, tile).run();
}

}  // namespace

const Kernel<CreffArguments> creff_kernel = {plan, run};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
