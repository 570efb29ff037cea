#include "operators/operators.h"

namespace arseg {

MotionWarp::MotionWarp(const Attributes& attributes) : sampling_(sampling_attribute(attributes)) {}

Shape MotionWarp::output_shape(const Tensor* inputs) const {
  const Tensor &feature = inputs[0], &motion = inputs[1];
  require_shape(feature, "feature", {kAny, kAny, kAny, kAny});
  require_shape(motion, "motion", {feature.shape[0], kAny, kAny, 2});
  require_pixels("feature", feature.shape[2], feature.shape[3]);
  return feature.shape;
}

void MotionWarp::compute(const Tensor* inputs, void* output, const Threads& threads) const {
  warp(inputs, float_feature(inputs[0]), output, threads);
}

void MotionWarp::warp(const Tensor* inputs, const Feature& kept, void* output, const Threads& threads) const {
  const Shape &feature = inputs[0].shape, &motion = inputs[1].shape;
  MotionWarpArguments arguments{};
  arguments.batch = feature[0], arguments.channels = feature[1];
  arguments.height = feature[2], arguments.width = feature[3];
  arguments.motion_height = motion[1], arguments.motion_width = motion[2];
  arguments.sampling = sampling_;
  arguments.feature = kept, arguments.motion = inputs[1].floats();
  arguments.output = static_cast<float*>(output);
  run_kernel(kernels_.motion_warp, arguments, scratch_, threads);
}

Shape MotionWarpUint8::output_shape(const Tensor* inputs) const {
  const Shape shape = MotionWarp::output_shape(inputs);
  require_quantisation("feature", inputs[2], inputs[3], shape[1]);
  return shape;
}

void MotionWarpUint8::compute(const Tensor* inputs, void* output, const Threads& threads) const {
  warp(inputs, byte_feature(inputs[0], inputs[2], inputs[3]), output, threads);
}

}  // namespace arseg
