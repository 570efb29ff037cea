// Creff: the whole of CReFF and the final 1×1 convolution, in strips whose intermediate rows never leave the cache.
//
// For each row of a strip, as it goes down:
//
//     keyframe's feature ─ warp ─▶ warped ─ two depthwise 3×3 ─▶ key, value ┐
//     LR feature ─ resize ─▶ resized ─ depthwise 3×3 ─▶ query ──────────────┴─ attention + resized ─ 1×1 ─▶ logits

#include "kernels/attention.h"
#include "kernels/level.h"
#include "kernels/strips.h"
#include "kernels/warp_plan.h"

namespace arseg {
namespace ARSEG_LEVEL {
namespace {

constexpr int64_t kRingBytes = 3 << 19;  // of keys and values
constexpr int64_t kLrRows = 2;
constexpr int64_t kBatchRows = kQueryRows;          // warped and convolved at a time
constexpr int64_t kWarpedRows = kBatchRows + 2;
constexpr int64_t kAhead = 4;                       // channels, for prefetching
constexpr int64_t kResizedRows = kQueryRows + 2;

struct Buffers {
  Strips strips;
  RowRing warped;      // column 0 is x_begin − pad − 1
  RowRing key, value;  // column 0 is x_begin − pad
  RowRing resized;     // column 0 is x_begin − 1
  float* query;        // [kQueryRows][channels][strip_width]; column 0 is x_begin
  float* lr_rows;      // [kLrRows][channels][resized columns]: rows of the LR feature, resized in x only
  WarpPlan warp[kBatchRows];
  int32_t* lr_first;   // [resized columns]: where `lr_rows` reads in an LR row, …
  float* lr_share;     // … and the share of the next pixel
  Attention attention;
};

Buffers lay_out(const CreffArguments& a, Arena& arena) {
  const int64_t ring_rows = kQueryRows + a.kernel_size - 1;
  const int64_t bytes_a_column = ring_rows * 2 * a.channels * static_cast<int64_t>(sizeof(float));
  const int64_t widest = clamp(kRingBytes / bytes_a_column - a.kernel_size, kLanes, 128);
  Buffers b;
  b.strips = cut(a.height, a.width, widest, kQueryRows);
  const int64_t columns = round_up(b.strips.strip_width + a.kernel_size + 1, kLanes);
  const int64_t resized_columns = round_up(b.strips.strip_width + 2, kLanes);
  float* const zeros = arena.floats(a.channels * columns);
  const auto ring = [&](int64_t rows, int64_t ring_columns) {
    return RowRing{arena.floats(RowRing::floats(rows, a.channels, ring_columns)), zeros, rows, a.channels, ring_columns,
                   a.height};
  };
  b.warped = ring(kWarpedRows, columns);
  b.key = ring(ring_rows, columns);
  b.value = ring(ring_rows, columns);
  b.resized = ring(kResizedRows, resized_columns);
  b.query = arena.floats(kQueryRows * a.channels * b.strips.strip_width);
  b.lr_rows = arena.floats(kLrRows * a.channels * resized_columns);
  for (WarpPlan& warp : b.warp) warp = warp_plan_in(arena.bytes(WarpPlan::bytes(columns)), columns);
  b.lr_first = reinterpret_cast<int32_t*>(arena.floats(resized_columns));
  b.lr_share = arena.floats(resized_columns);
  b.attention = {a.channels, a.kernel_size, columns, arena.floats(Attention::score_floats(a.kernel_size)),
                 arena.floats(Attention::sum_floats(a.channels))};
  return b;
}

// Reads three rows of planes and writes one row of each of Outputs 3×3 convolutions of them.
template <int Outputs>
void convolve_row(const RowRing& input, int64_t y, const DepthwiseWeights (&weights)[Outputs], int64_t columns,
                  float* const (&outputs)[Outputs], int64_t output_stride) {
  const float* rows[3] = {input.row(y - 1), input.row(y), input.row(y + 1)};
  for (int64_t c = 0; c < input.channels; ++c) {
    Floats weight[Outputs][9], bias[Outputs];
    for (int o = 0; o < Outputs; ++o) {
      for (int tap = 0; tap < 9; ++tap) weight[o][tap] = splat(weights[o].weight[c * 9 + tap]);
      bias[o] = splat(weights[o].bias[c]);
    }
    for (int64_t j = 0; j < columns; j += kLanes) {
      Floats sum[Outputs];
      for (int o = 0; o < Outputs; ++o) sum[o] = bias[o];
      for (int tap = 0; tap < 9; ++tap) {
        const Floats pixels = load_once(rows[tap / 3] + c * input.columns + j + tap % 3);
        for (int o = 0; o < Outputs; ++o) sum[o] += weight[o][tap] * pixels;
      }
      for (int o = 0; o < Outputs; ++o) store(outputs[o] + c * output_stride + j, sum[o]);
    }
  }
}

// One strip on its way down.
class Strip {
 public:
  Strip(const CreffArguments& a, const Buffers& b, const Band& band)
      : a_(a), b_(b), band_(band), pad_(a.kernel_size / 2) {
    float* const zeros = const_cast<float*>(b.warped.zeros);
    for (int64_t i = 0; i < a.channels * b.warped.columns; ++i) zeros[i] = 0;
    next_warped_ = larger(0, band.y_begin - pad_ - 1);
    next_key_ = larger(0, band.y_begin - pad_);
    next_resized_ = larger(0, band.y_begin - 1);
    for (int64_t j = 0; j < b.resized.columns; ++j) {
      const int64_t x = clamp(band.x_begin - 1 + j, 0, a.width - 1);
      const Neighbours column = corners_aligned(x, a.lr_width, a.width);
      b.lr_first[j] = static_cast<int32_t>(column.first);
      b.lr_share[j] = static_cast<float>(column.share);
    }
  }

  void run() {
    for (int64_t y = band_.y_begin; y < band_.y_end; y += kQueryRows) {
      const int64_t rows = smaller(kQueryRows, band_.y_end - y);
      make_keys_and_values(smaller(y + rows + pad_, a_.height));
      for (int64_t r = 0; r < rows; ++r) make_query(y + r, r);
      for (int64_t x = band_.x_begin; x < band_.x_end; x += kLanes) make_logits(x, y, rows);
    }
  }

 private:
  // Several rows at a time, channel by channel: each channel's plane lies in other pages of memory, so what is read of
  // one is read in one go, and asked for some channels ahead.
  void warp(int64_t rows) {
    const WarpGeometry geometry{a_.height, a_.width, a_.motion_height, a_.motion_width, a_.sampling};
    const int64_t x_first = band_.x_begin - pad_ - 1, columns = b_.warped.columns, y = next_warped_;
    const float* motion = a_.motion + band_.image * a_.motion_height * a_.motion_width * 2;
    for (int64_t r = 0; r < rows; ++r) plan_row(geometry, motion, y + r, x_first, columns, b_.warp[r]);
    const int64_t right = geometry.step_right(), down = geometry.step_down(), plane_size = a_.height * a_.width;
    const float* plane = a_.keyframe_feature + band_.image * a_.channels * plane_size;
    for (int64_t c = 0; c < a_.channels; ++c, plane += plane_size) {
      const float* ahead = plane + smaller(kAhead, a_.channels - 1 - c) * plane_size + down;
      for (int64_t r = 0; r < rows; ++r) {
        float* const output = b_.warped.slot(y + r) + c * columns;
        for (int64_t j = 0; j < columns; j += kLanes) {
          __builtin_prefetch(ahead + b_.warp[r].offset[j]);
          store(output + j, sample(plane, right, down, b_.warp[r], j));
        }
      }
    }
    for (int64_t r = 0; r < rows; ++r) clear_outside(b_.warped.slot(y + r), a_.channels, columns, x_first, a_.width);
    next_warped_ += rows;
  }

  void make_keys_and_values(int64_t end) {
    while (next_key_ < end) {
      const int64_t batch_end = smaller(next_key_ + kBatchRows, end);
      const int64_t warped_end = smaller(batch_end + 1, a_.height);
      while (next_warped_ < warped_end) warp(smaller(kBatchRows, warped_end - next_warped_));
      for (; next_key_ < batch_end; ++next_key_) make_key_and_value(next_key_);
    }
  }

  void make_key_and_value(int64_t y) {
    float *key = b_.key.slot(y), *value = b_.value.slot(y);
    convolve_row<2>(b_.warped, y, {a_.key, a_.value}, b_.key.columns, {key, value}, b_.key.columns);
    clear_outside(key, a_.channels, b_.key.columns, band_.x_begin - pad_, a_.width);
    clear_outside(value, a_.channels, b_.value.columns, band_.x_begin - pad_, a_.width);
  }

  // A row of the LR feature, resized in x. Two are kept, as neighbouring rows share them.
  const float* lr_row(int64_t index) {
    const int64_t slot = index % kLrRows, columns = b_.resized.columns;
    float* const row = b_.lr_rows + slot * a_.channels * columns;
    if (lr_index_[slot] == index) return row;
    lr_index_[slot] = index;
    const int64_t plane_size = a_.lr_height * a_.lr_width;
    const float* from = a_.lr_feature + band_.image * a_.channels * plane_size + index * a_.lr_width;
    const int32_t last = static_cast<int32_t>(a_.lr_width - 1);
    for (int64_t c = 0; c < a_.channels; ++c, from += plane_size) {
      const float* ahead = from + smaller(kAhead, a_.channels - 1 - c) * plane_size;
      for (int64_t j = 0; j < columns; j += kLanes) {
        __builtin_prefetch(ahead + b_.lr_first[j]);
        const Ints first = load(b_.lr_first + j);
        const Ints second = first < last ? first + 1 : first;
        const Floats share = load(b_.lr_share + j);
        store(row + c * columns + j, gather(from, first) * (1.0f - share) + gather(from, second) * share);
      }
    }
    return row;
  }

  void resize(int64_t y) {
    const Neighbours rows = corners_aligned(y, a_.lr_height, a_.height);
    const float *upper = lr_row(rows.first), *lower = lr_row(rows.second);
    const Floats share = splat(static_cast<float>(rows.share));
    float* const output = b_.resized.slot(y);
    for (int64_t i = 0; i < a_.channels * b_.resized.columns; i += kLanes) {
      store(output + i, load(upper + i) * (1.0f - share) + load(lower + i) * share);
    }
    clear_outside(output, a_.channels, b_.resized.columns, band_.x_begin - 1, a_.width);
  }

  void make_query(int64_t y, int64_t r) {
    for (; next_resized_ < smaller(y + 2, a_.height); ++next_resized_) resize(next_resized_);
    const int64_t columns = b_.strips.strip_width;
    convolve_row<1>(b_.resized, y, {a_.query}, columns, {b_.query + r * a_.channels * columns}, columns);
  }

  void make_logits(int64_t x, int64_t y, int64_t rows) {
    const int64_t column = x - band_.x_begin;
    for (int64_t r = 0; r < rows; ++r) {
      const float* resized = b_.resized.row(y + r) + column + 1;
      for (int64_t c = 0; c < a_.channels; ++c) {
        store(b_.attention.sums + (c * kQueryRows + r) * kLanes, load(resized + c * b_.resized.columns));
      }
    }
    attend(
        b_.attention, b_.query + column, b_.strips.strip_width, a_.channels * b_.strips.strip_width, rows,
        [&](int64_t i) { return b_.key.row(y + i - pad_) + column; },
        [&](int64_t i) { return b_.value.row(y + i - pad_) + column; });
    constexpr int kClassBlock = 4;
    int64_t n = 0;
    for (; n + kClassBlock <= a_.classes; n += kClassBlock) classify<kClassBlock>(n, x, y, rows);
    for (; n < a_.classes; ++n) classify<1>(n, x, y, rows);
  }

  template <int Classes>
  void classify(int64_t first_class, int64_t x, int64_t y, int64_t rows) {
    const float* weight = a_.head_weight + first_class * a_.channels;
    Floats sum[Classes][kQueryRows];
    for (int n = 0; n < Classes; ++n) {
      for (int r = 0; r < kQueryRows; ++r) sum[n][r] = splat(a_.head_bias[first_class + n]);
    }
    const float* fused = b_.attention.sums;
    for (int64_t c = 0; c < a_.channels; ++c, fused += kQueryRows * kLanes) {
      Floats pixels[kQueryRows];
      for (int r = 0; r < kQueryRows; ++r) pixels[r] = load_once(fused + r * kLanes);
      for (int n = 0; n < Classes; ++n) {
        for (int r = 0; r < kQueryRows; ++r) sum[n][r] += weight[n * a_.channels + c] * pixels[r];
      }
    }
    for (int n = 0; n < Classes; ++n) {
      float* plane = a_.output + (band_.image * a_.classes + first_class + n) * a_.height * a_.width;
      for (int64_t r = 0; r < rows; ++r) {
        store_first(plane + (y + r) * a_.width + x, sum[n][r], smaller(kLanes, band_.x_end - x));
      }
    }
  }

  const CreffArguments& a_;
  const Buffers& b_;
  const Band& band_;
  const int64_t pad_;
  int64_t next_warped_, next_key_, next_resized_;
  int64_t lr_index_[kLrRows] = {-1, -1};
};

Work plan(const CreffArguments& a) {
  Arena arena(nullptr);
  const Buffers b = lay_out(a, arena);
  return {a.batch * b.strips.across() * b.strips.down(), arena.size()};
}

void run(const CreffArguments& a, int64_t task, void* scratch) {
  Arena arena(scratch);
  const Buffers b = lay_out(a, arena);
  const Band band = b.strips.band(task);
  Strip(a, b, band).run();
}

}  // namespace

const Kernel<CreffArguments> creff_kernel = {plan, run};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
