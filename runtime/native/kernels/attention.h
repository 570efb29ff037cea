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

// Of kQueryRows rows, in one vector of columns or several beside each other.
struct Attention {
  int64_t vectors;
  int64_t channels;  // of the block at hand; scores of several blocks add up
  int64_t kernel_size;
  int64_t row_stride;  // from one channel to the next in a row of keys or values
  float* scores;       // [vectors][kQueryRows][kernel_size²][kLanes]; softmax turns them into weights in place

  float* scores_of(int64_t vector, int64_t row, int64_t offset) const {
    return scores + ((vector * kQueryRows + row) * kernel_size * kernel_size + offset) * kLanes;
  }
  static int64_t score_floats(int64_t kernel_size) { return kQueryRows * kernel_size * kernel_size * kLanes; }
};

// The queries, or the sums that weighted values are added to: so many floats from one channel, row or vector to the
// next.
template <typename Float>
struct Pixels {
  Float* data;
  int64_t channel, row, vector;
};
using Queries = Pixels<const float>;
using Sums = Pixels<float>;

// Fetches the window some channels further on from the L2 cache; a prefetch past the end does no harm.
inline void ask_ahead(const float* window, int64_t row_stride) {
  constexpr int64_t kAhead = 6;
  __builtin_prefetch(window + kAhead * row_stride);
  __builtin_prefetch(window + kAhead * row_stride + kLanes);
}

// A row of something that is worked on later, with as many channels as what is worked on now. It is fetched into the L2
// cache meanwhile, line by line: memory is then busy while the arithmetic is, not before it.
struct Later {
  const float* row;
  int64_t channel;  // floats from one channel to the next
};
inline void ask_for(const float* later) { __builtin_prefetch(later, 0, 2); }

// A row of keys or values at the leftmost column that the first query sees, and what to fetch beside it.
struct WindowRow {
  const float* data;
  Later later;
};

// Rows `first` to `first + Rows − 1` of the queries see one row of keys, `kernel_row` being where it lies in the first
// one's window (in the next one's it lies one higher). `offset` is the first of Offsets columns of the window.
template <int Rows, int Offsets>
__attribute__((noinline)) void add_scores(const Attention& a, Queries queries, WindowRow keys, bool first_block,
                                          int64_t first, int64_t kernel_row, int64_t offset) {
  for (int64_t v = 0; v < a.vectors; ++v) {
    Floats sum[Rows][Offsets];
#pragma GCC unroll 3
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 7
      for (int d = 0; d < Offsets; ++d) sum[r][d] = Floats{};
    }
    if (!first_block) {
#pragma GCC unroll 3
      for (int r = 0; r < Rows; ++r) {
        const float* const scores = a.scores_of(v, first + r, (kernel_row - r) * a.kernel_size + offset);
#pragma GCC unroll 7
        for (int d = 0; d < Offsets; ++d) sum[r][d] = load(scores + d * kLanes);
      }
    }
    const float* query = queries.data + v * queries.vector + first * queries.row;
    const float* key = keys.data + v * kLanes + offset;
    const float* later = keys.later.row + v * kLanes;
    for (int64_t c = 0; c < a.channels; ++c) {
      Floats q[Rows], k[Offsets];
      ask_ahead(key, a.row_stride);
      ask_for(later);
      for (int r = 0; r < Rows; ++r) q[r] = load_once(query + r * queries.row);
      load_shifts(key, k);
      for (int d = 0; d < Offsets; ++d) {
        for (int r = 0; r < Rows; ++r) sum[r][d] += q[r] * k[d];
      }
      query += queries.channel;
      key += a.row_stride;
      later += keys.later.channel;
    }
#pragma GCC unroll 3
    for (int r = 0; r < Rows; ++r) {
      float* const scores = a.scores_of(v, first + r, (kernel_row - r) * a.kernel_size + offset);
#pragma GCC unroll 7
      for (int d = 0; d < Offsets; ++d) store(scores + d * kLanes, sum[r][d]);
    }
  }
}

template <int Rows, int Offsets>
__attribute__((noinline)) void add_values(const Attention& a, Sums sums, WindowRow values, int64_t first,
                                          int64_t kernel_row, int64_t offset) {
  const int64_t channels = a.channels, row_stride = a.row_stride;  // not to be read again after every store
  const int64_t later_stride = values.later.channel;
  for (int64_t v = 0; v < a.vectors; ++v) {
    Floats weight[Rows][Offsets];
#pragma GCC unroll 3
    for (int r = 0; r < Rows; ++r) {
      const float* const weights = a.scores_of(v, first + r, (kernel_row - r) * a.kernel_size + offset);
#pragma GCC unroll 7
      for (int d = 0; d < Offsets; ++d) weight[r][d] = load(weights + d * kLanes);
    }
    float* to = sums.data + v * sums.vector + first * sums.row;
    const float* value = values.data + v * kLanes + offset;
    const float* later = values.later.row + v * kLanes;
    for (int64_t c = 0; c < channels; ++c) {
      Floats sum[Rows], shifted[Offsets];
      ask_ahead(value, row_stride);
      ask_for(later);
      for (int r = 0; r < Rows; ++r) sum[r] = load(to + r * sums.row);
      load_shifts(value, shifted);
      for (int d = 0; d < Offsets; ++d) {
        for (int r = 0; r < Rows; ++r) sum[r] += weight[r][d] * shifted[d];
      }
      for (int r = 0; r < Rows; ++r) store(to + r * sums.row, sum[r]);
      to += sums.channel;
      value += row_stride;
      later += later_stride;
    }
  }
}

struct ScoreBlock {
  const Attention& a;
  Queries queries;
  WindowRow keys;
  bool first_block;
  int64_t first, kernel_row;
  template <int Rows, int Offsets>
  void run(int64_t offset) const {
    add_scores<Rows, Offsets>(a, queries, keys, first_block, first, kernel_row, offset);
  }
};

struct ValueBlock {
  const Attention& a;
  Sums sums;
  WindowRow values;
  int64_t first, kernel_row;
  template <int Rows, int Offsets>
  void run(int64_t offset) const {
    add_values<Rows, Offsets>(a, sums, values, first, kernel_row, offset);
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

// Of the first `rows` rows.
inline void softmax(const Attention& a, int64_t rows) {
  const int64_t count = a.kernel_size * a.kernel_size;
  for (int64_t v = 0; v < a.vectors; ++v) {
    for (int64_t r = 0; r < rows; ++r) {
      float* const scores = a.scores_of(v, r, 0);
      Floats highest = load(scores);
      for (int64_t i = 1; i < count; ++i) highest = maximum(highest, load(scores + i * kLanes));
      Floats total = {};
      for (int64_t i = 0; i < count; ++i) {
        const Floats weight = exp_of_negative(load(scores + i * kLanes) - highest);
        store(scores + i * kLanes, weight);
        total += weight;
      }
      const Floats scale = 1.0f / total;
      for (int64_t i = 0; i < count; ++i) store(scores + i * kLanes, load(scores + i * kLanes) * scale);
    }
  }
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

// Adds the scores of `rows` query rows for one block of channels. `key_row(i)` is row i from its first channel on.
// What is outside the image must be zeros.
template <typename KeyRow>
inline void score(const Attention& a, Queries queries, int64_t rows, bool first_block, const KeyRow& key_row) {
  for (int64_t i = 0; i < rows_seen(rows, a.kernel_size); ++i) {
    const Seen seen = seen_by(i, rows, a.kernel_size);
    for_rows_and_offsets(seen.count, a.kernel_size,
                         ScoreBlock{a, queries, key_row(i), first_block, seen.first, i - seen.first});
  }
}

// Adds the values of one block of channels, weighted, to `sums`.
template <typename ValueRow>
inline void weigh(const Attention& a, Sums sums, int64_t rows, const ValueRow& value_row) {
  for (int64_t i = 0; i < rows_seen(rows, a.kernel_size); ++i) {
    const Seen seen = seen_by(i, rows, a.kernel_size);
    for_rows_and_offsets(seen.count, a.kernel_size, ValueBlock{a, sums, value_row(i), seen.first, i - seen.first});
  }
}

}  // namespace ARSEG_LEVEL
}  // namespace arseg
