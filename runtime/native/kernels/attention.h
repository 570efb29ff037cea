// The inner loops of local attention, for one column of kLanes pixels in up to kQueryRows rows.
//
// Scores and weighted sums are both register-blocked over (rows × offsets in x): a vector of keys or values, once
// loaded, serves every query row that sees it, which keeps the multiply-add units rather than the loads busy.

#pragma once

#include "kernels/simd.h"

namespace arseg {
namespace ARSEG_LEVEL {

constexpr int kQueryRows = 3;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kOffsets = 7;  // 3 × 7 sums and what feeds them fit into 32 registers
#else
constexpr int kOffsets = 4;  // … 3 × 4 into 16
#endif

constexpr int64_t kPixelFloats = kQueryRows * kLanes;  // of one channel

struct Attention {
  int64_t channels;  // of the block at hand; scores of several blocks add up
  int64_t kernel_size;
  int64_t row_stride;  // from one channel to the next in a row of keys or values
  float* scores;       // [kQueryRows][kernel_size²][kLanes]; softmax turns them into weights in place
  float* sums;         // [channels][kQueryRows][kLanes]: what the weighted values are added to

  float* scores_of(int64_t row, int64_t offset) const {
    return scores + (row * kernel_size * kernel_size + offset) * kLanes;
  }
  static int64_t score_floats(int64_t kernel_size) { return kQueryRows * kernel_size * kernel_size * kLanes; }
  static int64_t sum_floats(int64_t channels) { return channels * kQueryRows * kLanes; }
};

// Fetches the window some channels further on from the L2 cache; a prefetch past the end does no harm.
inline void ask_ahead(const float* window, int64_t row_stride) {
  constexpr int64_t kAhead = 6;
  __builtin_prefetch(window + kAhead * row_stride);
  __builtin_prefetch(window + kAhead * row_stride + kLanes);
}

// Rows `first` to `first + Rows − 1` of the queries see one row of keys, `kernel_row` being where it lies in the first
// one's window (in the next one's it lies one higher). `offset` is the first of Offsets columns of the window.
template <int Rows, int Offsets>
__attribute__((noinline)) void add_scores(const Attention& a, const float* query, int64_t query_channel,
                                          int64_t query_row, const float* key, bool first_block, int64_t first,
                                          int64_t kernel_row, int64_t offset) {
  Floats sum[Rows][Offsets];
  for (int r = 0; r < Rows; ++r) {
    for (int d = 0; d < Offsets; ++d) {
      sum[r][d] = first_block ? Floats{} : load(a.scores_of(first + r, (kernel_row - r) * a.kernel_size + offset + d));
    }
  }
  query += first * query_row;
  key += offset;
  for (int64_t c = 0; c < a.channels; ++c) {
    Floats q[Rows];
    ask_ahead(key, a.row_stride);
    for (int r = 0; r < Rows; ++r) q[r] = load_once(query + r * query_row);
    for (int d = 0; d < Offsets; ++d) {
      const Floats k = load_once(key + d);
      for (int r = 0; r < Rows; ++r) sum[r][d] += q[r] * k;
    }
    query += query_channel;
    key += a.row_stride;
  }
  for (int r = 0; r < Rows; ++r) {
    for (int d = 0; d < Offsets; ++d) {
      store(a.scores_of(first + r, (kernel_row - r) * a.kernel_size + offset + d), sum[r][d]);
    }
  }
}

template <int Rows, int Offsets>
__attribute__((noinline)) void add_values(const Attention& a, const float* value, int64_t first, int64_t kernel_row,
                                          int64_t offset) {
  Floats weight[Rows][Offsets];
  for (int r = 0; r < Rows; ++r) {
    for (int d = 0; d < Offsets; ++d) {
      weight[r][d] = load(a.scores_of(first + r, (kernel_row - r) * a.kernel_size + offset + d));
    }
  }
  float* sums = a.sums + first * kLanes;
  value += offset;
  for (int64_t c = 0; c < a.channels; ++c) {
    Floats sum[Rows];
    ask_ahead(value, a.row_stride);
    for (int r = 0; r < Rows; ++r) sum[r] = load(sums + r * kLanes);
    for (int d = 0; d < Offsets; ++d) {
      const Floats v = load_once(value + d);
      for (int r = 0; r < Rows; ++r) sum[r] += weight[r][d] * v;
    }
    for (int r = 0; r < Rows; ++r) store(sums + r * kLanes, sum[r]);
    sums += kQueryRows * kLanes;
    value += a.row_stride;
  }
}

struct ScoreBlock {
  const Attention& a;
  const float *query, *key;
  int64_t query_channel, query_row;
  bool first_block;
  int64_t first, kernel_row;
  template <int Rows, int Offsets>
  void run(int64_t offset) const {
    add_scores<Rows, Offsets>(a, query, query_channel, query_row, key, first_block, first, kernel_row, offset);
  }
};

struct ValueBlock {
  const Attention& a;
  const float* value;
  int64_t first, kernel_row;
  template <int Rows, int Offsets>
  void run(int64_t offset) const {
    add_values<Rows, Offsets>(a, value, first, kernel_row, offset);
  }
};

// Covers the kernel's width, a few offsets at a time.
template <int Rows, typename Block>
inline void for_offsets(int64_t kernel_size, const Block& block) {
  int64_t offset = 0;
  for (; offset + kOffsets <= kernel_size; offset += kOffsets) block.template run<Rows, kOffsets>(offset);
  for (; offset + 3 <= kernel_size; offset += 3) block.template run<Rows, 3>(offset);
  for (; offset < kernel_size; ++offset) block.template run<Rows, 1>(offset);
}

template <typename Block>
inline void for_rows_and_offsets(int64_t rows, int64_t kernel_size, const Block& block) {
  switch (rows) {
    case 1:
      return for_offsets<1>(kernel_size, block);
    case 2:
      return for_offsets<2>(kernel_size, block);
    default:
      return for_offsets<3>(kernel_size, block);
  }
}

inline void softmax(const Attention& a, int64_t row) {
  const int64_t count = a.kernel_size * a.kernel_size;
  Floats highest = load(a.scores_of(row, 0));
  for (int64_t i = 1; i < count; ++i) highest = maximum(highest, load(a.scores_of(row, i)));
  Floats total = {};
  for (int64_t i = 0; i < count; ++i) {
    const Floats weight = exp_of_negative(load(a.scores_of(row, i)) - highest);
    store(a.scores_of(row, i), weight);
    total += weight;
  }
  const Floats scale = 1.0f / total;
  for (int64_t i = 0; i < count; ++i) store(a.scores_of(row, i), load(a.scores_of(row, i)) * scale);
}

// Row i of the keys and values, counted from the topmost that the first of `rows` query rows sees, is seen by the query
// rows r with 0 <= i − r < kernel_size: `count` of them from `first` on.
struct Seen {
  int64_t first, count;
};
inline int64_t rows_seen(int64_t rows, int64_t kernel_size) { return rows + kernel_size - 1; }
inline Seen seen_by(int64_t i, int64_t rows, int64_t kernel_size) {
  const int64_t first = larger(0, i - kernel_size + 1);
  return {first, smaller(rows - 1, i) - first + 1};
}

// Adds the scores of `rows` query rows for one block of channels. `query` points at the first row's first channel, this
// column; `key_row(i)` at the first channel of row i, at the window's leftmost column. What is outside the image must
// be zeros.
template <typename KeyRow>
inline void score(const Attention& a, const float* query, int64_t query_channel, int64_t query_row, int64_t rows,
                  bool first_block, const KeyRow& key_row) {
  for (int64_t i = 0; i < rows_seen(rows, a.kernel_size); ++i) {
    const Seen seen = seen_by(i, rows, a.kernel_size);
    for_rows_and_offsets(
        seen.count, a.kernel_size,
        ScoreBlock{a, query, key_row(i), query_channel, query_row, first_block, seen.first, i - seen.first});
  }
}

// Adds the values of one block of channels, weighted, to `a.sums`.
template <typename ValueRow>
inline void weigh(const Attention& a, int64_t rows, const ValueRow& value_row) {
  for (int64_t i = 0; i < rows_seen(rows, a.kernel_size); ++i) {
    const Seen seen = seen_by(i, rows, a.kernel_size);
    for_rows_and_offsets(seen.count, a.kernel_size, ValueBlock{a, value_row(i), seen.first, i - seen.first});
  }
}

}  // namespace ARSEG_LEVEL
}  // namespace arseg
