#include "operators/operators.h"

namespace arseg {

namespace {

enum Input {
  kLrFeature,
  kKeyframeFeature,
  kMotion,
  kQueryWeight,
  kQueryBias,
  kKeyWeight,
  kKeyBias,
  kValueWeight,
  kValueBias,
  kHeadWeight,
  kHeadBias,
  kFeatureScale,
  kFeatureZeroPoint,
};

}  // namespace

Creff::Creff(const Attributes& attributes)
    : sampling_(sampling_attribute(attributes)), kernel_size_(kernel_size_attribute(attributes)) {}

Shape Creff::output_shape(const Tensor* inputs) const {
  const Shape& feature = inputs[kKeyframeFeature].shape;
  require_shape(inputs[kKeyframeFeature], "keyframe_feature", {kAny, kAny, kAny, kAny});
  const int64_t batch = feature[0], channels = feature[1];
  require_shape(inputs[kLrFeature], "lr_feature", {batch, channels, kAny, kAny});
  require_shape(inputs[kMotion], "motion", {batch, kAny, kAny, 2});
  require_shape(inputs[kQueryWeight], "query_weight", {channels, 1, 3, 3});
  require_shape(inputs[kQueryBias], "query_bias", {channels});
  require_shape(inputs[kKeyWeight], "key_weight", {channels, 1, 3, 3});
  require_shape(inputs[kKeyBias], "key_bias", {channels});
  require_shape(inputs[kValueWeight], "value_weight", {channels, 1, 3, 3});
  require_shape(inputs[kValueBias], "value_bias", {channels});
  require_shape(inputs[kHeadWeight], "head_weight", {kAny, channels, 1, 1});
  const int64_t classes = inputs[kHeadWeight].shape[0];
  require_shape(inputs[kHeadBias], "head_bias", {classes});
  require_pixels("keyframe_feature", feature[2], feature[3]);
  require_pixels("lr_feature", inputs[kLrFeature].shape[2], inputs[kLrFeature].shape[3]);
  require_channels("keyframe_feature", channels);
  return {4, {batch, classes, feature[2], feature[3]}};
}

void Creff::compute(const Tensor* inputs, void* output, const Threads& threads) const {
  fuse(inputs, float_feature(inputs[kKeyframeFeature]), output, threads);
}

void Creff::fuse(const Tensor* inputs, const Feature& kept, void* output, const Threads& threads) const {
  const Shape &feature = inputs[kKeyframeFeature].shape, &lr = inputs[kLrFeature].shape;
  const Shape& motion = inputs[kMotion].shape;
  CreffArguments arguments{};
  arguments.batch = feature[0], arguments.channels = feature[1];
  arguments.height = feature[2], arguments.width = feature[3];
  arguments.lr_height = lr[2], arguments.lr_width = lr[3];
  arguments.motion_height = motion[1], arguments.motion_width = motion[2];
  arguments.classes = inputs[kHeadWeight].shape[0];
  arguments.kernel_size = kernel_size_;
  arguments.sampling = sampling_;
  arguments.lr_feature = inputs[kLrFeature].floats();
  arguments.keyframe_feature = kept;
  arguments.motion = inputs[kMotion].floats();
  arguments.query = {inputs[kQueryWeight].floats(), inputs[kQueryBias].floats()};
  arguments.key = {inputs[kKeyWeight].floats(), inputs[kKeyBias].floats()};
  arguments.value = {inputs[kValueWeight].floats(), inputs[kValueBias].floats()};
  arguments.head_weight = inputs[kHeadWeight].floats();
  arguments.head_bias = inputs[kHeadBias].floats();
  arguments.output = static_cast<float*>(output);
  run_kernel(kernels_.creff, arguments, scratch_, threads);
}

Shape CreffUint8::output_shape(const Tensor* inputs) const {
  const Shape shape = Creff::output_shape(inputs);
  require_quantisation("feature", inputs[kFeatureScale], inputs[kFeatureZeroPoint], inputs[kKeyframeFeature].shape[1]);
  return shape;
}

void CreffUint8::compute(const Tensor* inputs, void* output, const Threads& threads) const {
  fuse(inputs, byte_feature(inputs[kKeyframeFeature], inputs[kFeatureScale], inputs[kFeatureZeroPoint]), output,
       threads);
}

}  // namespace arseg
