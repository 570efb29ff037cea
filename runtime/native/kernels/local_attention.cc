// LocalAttention: softmax over the dot products of a query with the keys around it, weighting the values.

#include "kernels/attention.h"
#include "kernels/level.h"
#include "kernels/strips.h"

namespace arseg {
namespace ARSEG_LEVEL {
namespace {

constexpr int64_t kRingBytes = 3 << 19;  // of keys and values
constexpr int64_t kAhead = 4;  // channels, for prefetching

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

// Columns x_first to x_first + columns − 1 of `rows` rows from y on of one channel; zeros left and right of the image.
// `to` is where the ring has them.
template <typename To>
void copy_rows(const float* plane, int64_t width, int64_t y, int64_t rows, int64_t x_first, int64_t columns,
               const To& to) {
  const int64_t left = clamp(-x_first, 0, columns);
  const int64_t right = clamp(width - x_first, left, columns);
  for (int64_t r = 0; r < rows; ++r) {
    const float* from = plane + (y + r) * width + x_first;
    float* const row = to(y + r);
    int64_t j = 0;
    for (; j < left; ++j) row[j] = 0;
    for (; j + kLanes <= right; j += kLanes) store(row + j, load(from + j));
    for (; j < right; ++j) row[j] = from[j];
    for (; j < columns; ++j) row[j] = 0;
  }
}

void ask_for_rows(const float* plane, int64_t width, int64_t y, int64_t rows, int64_t x_first, int64_t columns) {
  constexpr int64_t kLineFloats = 16;
  const int64_t left = larger(x_first, 0), right = smaller(x_first + columns, width);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t x = left; x < right; x += kLineFloats) __builtin_prefetch(plane + (y + r) * width + x);
  }
}

void run(const LocalAttentionArguments& a, int64_t task, void* scratch) {
  Arena arena(scratch);
  const Buffers b = lay_out(a, arena);
  const Band band = b.strips.band(task);
  const int64_t plane_size = a.height * a.width, image = band.image * a.channels * plane_size;
  const int64_t pad = a.kernel_size / 2;
  const int64_t strip_width = b.strips.strip_width, query_row = a.channels * strip_width;
  float* const zeros = const_cast<float*>(b.key.zeros);
  for (int64_t i = 0; i < a.channels * b.key.columns; ++i) zeros[i] = 0;

  int64_t next_row = larger(0, band.y_begin - pad);
  for (int64_t y = band.y_begin; y < band.y_end; y += kQueryRows) {
    const int64_t rows = smaller(kQueryRows, band.y_end - y);
    const int64_t key_rows = larger(0, smaller(y + rows + pad, a.height) - next_row);
    // Channel by channel, as each lies in other pages of memory, and asked for some channels ahead.
    for (int64_t c = 0; c < a.channels; ++c) {
      const int64_t plane = image + c * plane_size;
      const int64_t ahead = image + smaller(c + kAhead, a.channels - 1) * plane_size;
      ask_for_rows(a.key + ahead, a.width, next_row, key_rows, band.x_begin - pad, b.key.columns);
      ask_for_rows(a.value + ahead, a.width, next_row, key_rows, band.x_begin - pad, b.key.columns);
      ask_for_rows(a.query + ahead, a.width, y, rows, band.x_begin, strip_width);
      copy_rows(a.key + plane, a.width, next_row, key_rows, band.x_begin - pad, b.key.columns,
                [&](int64_t row) { return b.key.slot(row) + c * b.key.columns; });
      copy_rows(a.value + plane, a.width, next_row, key_rows, band.x_begin - pad, b.value.columns,
                [&](int64_t row) { return b.value.slot(row) + c * b.value.columns; });
      copy_rows(a.query + plane, a.width, y, rows, band.x_begin, strip_width,
                [&](int64_t row) { return b.query + (row - y) * query_row + c * strip_width; });
    }
    next_row += key_rows;
    for (int64_t column = 0; column < band.x_end - band.x_begin; column += kLanes) {
      for (int64_t i = 0; i < Attention::sum_floats(a.channels); i += kLanes) store(b.attention.sums + i, Floats{});
      attend(
          b.attention, b.query + column, strip_width, query_row, rows,
          [&](int64_t i) { return b.key.row(y + i - pad) + column; },
          [&](int64_t i) { return b.value.row(y + i - pad) + column; });
      // Where the queries were, which are done with: their place is as large.
      for (int64_t c = 0; c < a.channels; ++c) {
        for (int64_t r = 0; r < rows; ++r) {
          store(b.query + r * query_row + c * strip_width + column,
                load(b.attention.sums + (c * kQueryRows + r) * kLanes));
        }
      }
    }
    for (int64_t c = 0; c < a.channels; ++c) {
      for (int64_t r = 0; r < rows; ++r) {
        float* const output = a.output + image + c * plane_size + (y + r) * a.width;
        const float* const result = b.query + r * query_row + c * strip_width - band.x_begin;
        for (int64_t x = band.x_begin; x < band.x_end; x += kLanes) {
          store_first(output + x, load(result + x), smaller(kLanes, band.x_end - x));
        }
      }
    }
  }
}

}  // namespace

const Kernel<LocalAttentionArguments> local_attention_kernel = {plan, run};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
