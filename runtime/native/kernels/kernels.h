// The kernels: plain functions on plain memory. Everything in this folder except `dispatch.cc` is compiled once for
// each SIMD level, into a namespace of its own, and `KernelSet` is what a level offers.
//
// Arguments are checked before they come here (`operators/`): sizes are at least 1, h·w and H·W fit into 31 bits.

#pragma once

#include <cstddef>
#include <cstdint>

namespace arseg {

enum class Sampling : int32_t { kPublished, kConsistent };

// A feature [batch, channels, height, width], in floats or in bytes, a quarter of the memory. A byte stands for
// (byte − zero_point)·scale.
struct Feature {
  const float* floats;  // null: in bytes
  const uint8_t* bytes;
  const float* scale;         // of all channels, or …
  const uint8_t* zero_point;
  bool per_channel;           // … [channels] each
};

struct MotionWarpArguments {
  int64_t batch, channels, height, width;  // of feature and output
  int64_t motion_height, motion_width;
  Sampling sampling;
  Feature feature;
  const float* motion;
  float* output;
};

struct LocalAttentionArguments {
  int64_t batch, channels, height, width;
  int64_t kernel_size;
  const float* query;
  const float* key;
  const float* value;
  float* output;
};

struct DepthwiseWeights {
  const float* weight;  // [channels, 1, 3, 3]
  const float* bias;    // [channels]
};

struct CreffArguments {
  int64_t batch, channels, height, width;  // of the keyframe's feature
  int64_t lr_height, lr_width;
  int64_t motion_height, motion_width;
  int64_t classes;
  int64_t kernel_size;
  Sampling sampling;
  const float* lr_feature;
  Feature keyframe_feature;
  const float* motion;
  DepthwiseWeights query, key, value;
  const float* head_weight;  // [classes, channels, 1, 1]
  const float* head_bias;    // [classes]
  float* output;
};

struct SegmentationLabelsArguments {
  int64_t batch, classes, height, width;  // of the logits
  int64_t output_height, output_width;
  int64_t upscale;
  bool align_corners;  // of the resize after the upscale
  const float* logits;
  uint8_t* output;
  uint8_t* confidence;  // [batch, output_height, output_width]; null: not asked for
};

struct NormalizeImageArguments {
  int64_t batch, height, width;  // of the frame
  int64_t output_height, output_width;
  float mean[3], std[3];
  const uint8_t* frame;
  float* output;  // null: …
  uint8_t* output_bytes;  // … in bytes, value/scale + zero_point rounded to the nearest
  float scale;
  uint8_t zero_point;
};

constexpr int64_t kMostMovedSources = 4;

constexpr uint8_t kMixedLabels = 255;

struct MovedLabelsSource {
  const uint8_t* labels;   // [height, width]
  const uint8_t* uniform;  // [rows, columns], as `uniform_labels` makes it; null: unknown
  const float* logits;     // [logits_height, logits_width, classes]; null without them
  const float* motion;     // [rows, columns, 2], (dx, dy) in blocks
  const float* weight;     // [rows, columns]
  // With confidence:
  const uint8_t* confidence;  // [height, width]
  const uint8_t* unsure;      // [rows, columns], as `uniform_labels` makes it of where confidence is not 255; null: unknown
  const float* factor;        // [rows, columns], 0 to 1: how much of the confidence counts
};

struct MovedLabelsArguments {
  int64_t height, width;  // of the labels
  int64_t rows, columns;  // of 8×8 blocks
  int64_t sources, classes;
  int64_t with_logits, logits_height, logits_width;
  float logits_scale_x, logits_offset_x, logits_scale_y, logits_offset_y;  // from a pixel to its place in the logits
  MovedLabelsSource source[kMostMovedSources];
  uint8_t* output;
  uint8_t* confidence;  // null: not asked for
};

struct BlockLumaArguments {
  int64_t height, width, stride;  // of the plane, in bytes
  const uint8_t* plane;
  uint8_t* output;  // [⌈height/8⌉, ⌈width/8⌉], means
};

struct FollowArguments {
  int64_t rows, columns;  // of blocks, at least four in all
  int64_t inverse;        // steps of the fixed point that inverts `step`; 0: it is taken as it is
  const float* known;     // [rows, columns, 2], positions (x, y) in the anchor of the frame that `step` leads to
  const float* step;      // [rows, columns, 2], (dx, dy); inverted, it leads from there
  const uint8_t* anchor;  // [rows, columns]
  float* positions;       // [rows, columns, 2]
  float* motion;          // [rows, columns, 2], `positions` less each block's own
  uint8_t* shown;         // [rows, columns], the anchor at `positions`
};

struct DifferenceArguments {
  int64_t rows, columns;
  const uint8_t* luma;
  const uint8_t* shown;
  uint8_t* output;  // absolute differences, means over 3×3
};

struct BlockSteps {
  void (*block_luma)(const BlockLumaArguments&);
  void (*follow)(const FollowArguments&);
  void (*difference)(const DifferenceArguments&);
};

// How a call is cut up: independent tasks, each with scratch memory of its own while it runs.
struct Work {
  int64_t tasks;
  size_t scratch_bytes;
};

template <typename Arguments>
struct Kernel {
  Work (*plan)(const Arguments&);
  void (*run)(const Arguments&, int64_t task, void* scratch);
};

struct KernelSet {
  const char* level;
  Kernel<MotionWarpArguments> motion_warp;
  Kernel<LocalAttentionArguments> local_attention;
  Kernel<CreffArguments> creff;
  Kernel<SegmentationLabelsArguments> segmentation_labels;
  Kernel<NormalizeImageArguments> normalize_image;
  Kernel<MovedLabelsArguments> moved_labels;
  BlockSteps block_steps;
};

// The best set for this processor, or the one that the environment variable ARSEG_EDGE_SIMD names (baseline, avx2,
// avx512), which is how tests reach the others. Throws `Error` for a level that is unknown or that cannot run here.
const KernelSet& choose_kernels();

}  // namespace arseg
