// The operators of domain `arseg`, version 1. Their contracts, with a body in standard ONNX, are in `export/operators`.

#pragma once

#include "operators/operator.h"

namespace arseg {

// MotionWarp(feature float[N,C,h,w], motion float[N,H,W,2]) -> float[N,C,h,w]; attribute sampling.
class MotionWarp {
 public:
  static constexpr Signature signature{"MotionWarp", 2, {Element::kFloat, Element::kFloat}, Element::kFloat, 0};
  explicit MotionWarp(const Attributes& attributes);
  Shape output_shape(const Tensor* inputs) const;
  void compute(const Tensor* inputs, void* output, const Threads& threads) const;

 protected:
  void warp(const Tensor* inputs, const Feature& feature, void* output, const Threads& threads) const;

  const KernelSet& kernels_ = choose_kernels();
  Sampling sampling_;
  mutable ScratchPool scratch_;
};

// MotionWarpUint8(feature uint8[N,C,h,w], motion, feature_scale float[] or [C], feature_zero_point uint8 of the same
// shape) -> float[N,C,h,w]: MotionWarp of (feature − feature_zero_point)·feature_scale.
class MotionWarpUint8 : public MotionWarp {
 public:
  static constexpr Signature signature{
      "MotionWarpUint8", 4, {Element::kUint8, Element::kFloat, Element::kFloat, Element::kUint8}, Element::kFloat};
  using MotionWarp::MotionWarp;
  Shape output_shape(const Tensor* inputs) const;
  void compute(const Tensor* inputs, void* output, const Threads& threads) const;
};

// LocalAttention(query, key, value float[N,C,h,w]) -> float[N,C,h,w]; attribute kernel_size.
class LocalAttention {
 public:
  static constexpr Signature signature{
      "LocalAttention", 3, {Element::kFloat, Element::kFloat, Element::kFloat}, Element::kFloat, 0};
  explicit LocalAttention(const Attributes& attributes);
  Shape output_shape(const Tensor* inputs) const;
  void compute(const Tensor* inputs, void* output, const Threads& threads) const;

 private:
  const KernelSet& kernels_ = choose_kernels();
  int64_t kernel_size_;
  mutable ScratchPool scratch_;
};

// Creff(lr_feature float[N,C,h',w'], keyframe_feature float[N,C,h,w], motion float[N,H,W,2], query_weight, query_bias,
// key_weight, key_bias, value_weight, value_bias, head_weight [n,C,1,1], head_bias [n]) -> float[N,n,h,w]; depthwise
// weights [C,1,3,3], biases [C]; attributes sampling, kernel_size.
class Creff {
 public:
  static constexpr Element f = Element::kFloat;
  static constexpr Signature signature{"Creff", 11, {f, f, f, f, f, f, f, f, f, f, f}, f};
  explicit Creff(const Attributes& attributes);
  Shape output_shape(const Tensor* inputs) const;
  void compute(const Tensor* inputs, void* output, const Threads& threads) const;

 protected:
  void fuse(const Tensor* inputs, const Feature& keyframe_feature, void* output, const Threads& threads) const;

  const KernelSet& kernels_ = choose_kernels();
  Sampling sampling_;
  int64_t kernel_size_;
  mutable ScratchPool scratch_;
};

// CreffUint8(… as Creff, but keyframe_feature uint8[N,C,h,w] …, feature_scale float[] or [C], feature_zero_point uint8 of
// the same shape) -> float[N,n,h,w]: Creff of (keyframe_feature − feature_zero_point)·feature_scale.
class CreffUint8 : public Creff {
 public:
  static constexpr Element u = Element::kUint8;
  static constexpr Signature signature{"CreffUint8", 13, {f, u, f, f, f, f, f, f, f, f, f, f, u}, f};
  using Creff::Creff;
  Shape output_shape(const Tensor* inputs) const;
  void compute(const Tensor* inputs, void* output, const Threads& threads) const;
};

// SegmentationLabels(logits float[N,n,h,w], size int64[2][, confidence_size int64[2]]) -> uint8[N,H,W][, uint8[N,H,W] or
// uint8[N,0,0]]; attributes upscale, align_corners.
class SegmentationLabels {
 public:
  static constexpr Signature signature{"SegmentationLabels",
                                       3,
                                       {Element::kFloat, Element::kInt64, Element::kInt64},
                                       Element::kUint8,
                                       -1,
                                       1,
                                       true};
  explicit SegmentationLabels(const Attributes& attributes);
  Shape output_shape(const Tensor* inputs) const;
  Shape second_output_shape(const Tensor* inputs) const;
  void compute(const Tensor* inputs, void* labels, void* confidence, const Threads& threads) const;

 private:
  const KernelSet& kernels_ = choose_kernels();
  int64_t upscale_;
  bool align_corners_;
  mutable ScratchPool scratch_;
};

// NormalizeImage(frame uint8[N,H,W,3], size int64[2]) -> float[N,3,H',W']; attributes mean_r, mean_g, mean_b, std_r,
// std_g, std_b.
class NormalizeImage {
 public:
  static constexpr Signature signature{"NormalizeImage", 2, {Element::kUint8, Element::kInt64}, Element::kFloat};
  explicit NormalizeImage(const Attributes& attributes);
  Shape output_shape(const Tensor* inputs) const;
  void compute(const Tensor* inputs, void* output, const Threads& threads) const;

 protected:
  NormalizeImageArguments arguments(const Tensor* inputs) const;

  const KernelSet& kernels_ = choose_kernels();
  float mean_[3], std_[3];
  mutable ScratchPool scratch_;
};

// NormalizeImageUint8(frame, size, image_scale float[], image_zero_point uint8[]) -> uint8[N,3,H',W']: NormalizeImage in
// steps of image_scale from image_zero_point on, rounded, so that a convolution in eight bits takes it as it is.
class NormalizeImageUint8 : public NormalizeImage {
 public:
  static constexpr Signature signature{
      "NormalizeImageUint8", 4, {Element::kUint8, Element::kInt64, Element::kFloat, Element::kUint8}, Element::kUint8};
  using NormalizeImage::NormalizeImage;
  Shape output_shape(const Tensor* inputs) const;
  void compute(const Tensor* inputs, void* output, const Threads& threads) const;
};

}  // namespace arseg
