// LocalAttention: softmax over the dot products of a query with the keys around it, weighting the values.

#include "kernels/attention.h"
#include "kernels/level.h"
#include "kernels/strips.h"

namespace arseg {
namespace ARSEG_LEVEL {
namespace {

constexpr int64_t kRingBytes = 1 << 20;

struct Buffers {
  Strips strips;
  RowRing key, value;
  float* query;  // [kQueryRows][channels][strip_width]
  Attention attention;
};

int64_t strip_columns(int64_t strip_width, int64_t kernel_size) {
  return round_up(strip_width + kernel_size - 1, kLanes);
}

Buffers lay_out(const LocalAttentionArguments& a, Arena& arena) {
  const int64_t ring_rows = kQueryRows + a.kernel_size - 1;
  const int64_t bytes_a_column = ring_rows * 2 * a.channels * static_cast<int64_t>(sizeof(float));
  const int64_t widest = clamp(kRingBytes / bytes_a_column - a.kernel_size, kLanes, 128);
  Buffers b;
  b.strips = cut(a.height, a.width, widest, kQueryRows);
  const int64_t columns = strip_columns(b.strips.strip_width, a.kernel_size);
  const int64_t ring_floats = RowRing::floats(ring_rows, a.channels, columns);
  float* const zeros = arena.floats(a.channels * columns);
  b.key = {arena.floats(ring_floats), zeros, ring_rows, a.channels, columns, a.height};
  b.value = {arena.floats(ring_floats), zeros, ring_rows, a.channels, columns, a.height};
  b.query = arena.floats(kQueryRows * a.channels * b.strips.strip_width);
  b.attention = {a.channels, a.kernel_size, columns, arena.floats(Attention::score_floats(a.kernel_size)),
                 arena.floats(Attention::sum_floats(a.channels))};
  return b;
}

Work plan(const LocalAttentionArguments& a) {
  Arena arena(nullptr);
  const Buffers b = lay_out(a, arena);
  return {a.batch * b.strips.across() * b.strips.down(), arena.size()};
}

// Columns x_first to x_first + columns − 1 of row y of all channels; zeros outside the image.
void copy_row(const float* image, const LocalAttentionArguments& a, int64_t y, int64_t x_first, int64_t columns,
              float* to) {
  const int64_t left = clamp(-x_first, 0, columns);
  const int64_t right = clamp(a.width - x_first, left, columns);
  for (int64_t c = 0; c < a.channels; ++c, to += columns) {
    const float* from = image + (c * a.height + y) * a.width + x_first;
    int64_t j = 0;
    for (; j < left; ++j) to[j] = 0;
    for (; j + kLanes <= right; j += kLanes) store(to + j, load(from + j));
    for (; j < right; ++j) to[j] = from[j];
    for (; j < columns; ++j) to[j] = 0;
  }
}

void run(const LocalAttentionArguments& a, int64_t task, void* scratch) {
  Arena arena(scratch);
  const Buffers b = lay_out(a, arena);
  const Band band = b.strips.band(task);
  const int64_t image = band.image * a.channels * a.height * a.width;
  const int64_t pad = a.kernel_size / 2;
  const int64_t strip_width = b.strips.strip_width;
  float* const zeros = const_cast<float*>(b.key.zeros);
  for (int64_t i = 0; i < a.channels * b.key.columns; ++i) zeros[i] = 0;

  int64_t next_row = larger(0, band.y_begin - pad);
  for (int64_t y = band.y_begin; y < band.y_end; y += kQueryRows) {
    const int64_t rows = smaller(kQueryRows, band.y_end - y);
    for (; next_row < smaller(y + rows + pad, a.height); ++next_row) {
      copy_row(a.key + image, a, next_row, band.x_begin - pad, b.key.columns, b.key.slot(next_row));
      copy_row(a.value + image, a, next_row, band.x_begin - pad, b.value.columns, b.value.slot(next_row));
    }
    const int64_t query_row = a.channels * strip_width;
    for (int64_t r = 0; r < rows; ++r) {
      copy_row(a.query + image, a, y + r, band.x_begin, strip_width, b.query + r * query_row);
    }
    for (int64_t x = band.x_begin; x < band.x_end; x += kLanes) {
      const int64_t column = x - band.x_begin;
      for (int64_t i = 0; i < Attention::sum_floats(a.channels); i += kLanes) store(b.attention.sums + i, Floats{});
      attend(
          b.attention, b.query + column, strip_width, query_row, rows,
          [&](int64_t i) { return b.key.row(y + i - pad) + column; },
          [&](int64_t i) { return b.value.row(y + i - pad) + column; });
      for (int64_t c = 0; c < a.channels; ++c) {
        for (int64_t r = 0; r < rows; ++r) {
          store_first(a.output + image + (c * a.height + y + r) * a.width + x,
                      load(b.attention.sums + (c * kQueryRows + r) * kLanes), smaller(kLanes, band.x_end - x));
        }
      }
    }
  }
}

}  // namespace

const Kernel<LocalAttentionArguments> local_attention_kernel = {plan, run};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
