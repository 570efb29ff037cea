#include "operators/operators.h"

namespace arseg {

namespace {

constexpr int64_t kMaxUpscale = 64;
constexpr int64_t kMaxClasses = 256;  // a label is a byte

}  // namespace

SegmentationLabels::SegmentationLabels(const Attributes& attributes) : upscale_(attributes.integer("upscale", 1)) {
  require(upscale_ >= 1 && upscale_ <= kMaxUpscale, "attribute upscale is ", upscale_, ", expected 1 to ", kMaxUpscale);
  const int64_t align_corners = attributes.integer("align_corners", 1);
  require(align_corners == 0 || align_corners == 1, "attribute align_corners is ", align_corners, ", expected 0 or 1");
  align_corners_ = align_corners == 1;
}

Shape SegmentationLabels::output_shape(const Tensor* inputs) const {
  const Shape& logits = inputs[0].shape;
  require_shape(inputs[0], "logits", {kAny, kAny, kAny, kAny});
  require(logits[1] <= kMaxClasses, "logits has shape ", logits, ", at most ", kMaxClasses,
          " classes fit into a uint8 label");
  require_pixels("logits", logits[2], logits[3]);
  const Size size = size_input(inputs[1]);
  return {3, {logits[0], size.height, size.width}};
}

Shape SegmentationLabels::second_output_shape(const Tensor* inputs) const {
  require(inputs[2].data != nullptr, "the output confidence has no size: give the input confidence_size");
  const Size size = size_input(inputs[1]);
  require_shape(inputs[2], "confidence_size", {2});
  const int64_t height = inputs[2].integers()[0], width = inputs[2].integers()[1];
  require((height == size.height && width == size.width) || (height == 0 && width == 0), "confidence_size is [", height,
          ", ", width, "], expected the labels' size, [", size.height, ", ", size.width, "], or [0, 0] for none");
  return {3, {inputs[0].shape[0], height, width}};
}

void SegmentationLabels::compute(const Tensor* inputs, void* labels, void* confidence, const Threads& threads) const {
  const Shape& logits = inputs[0].shape;
  const Size size = size_input(inputs[1]);
  SegmentationLabelsArguments arguments{};
  arguments.batch = logits[0], arguments.classes = logits[1];
  arguments.height = logits[2], arguments.width = logits[3];
  arguments.output_height = size.height, arguments.output_width = size.width;
  arguments.upscale = upscale_, arguments.align_corners = align_corners_;
  arguments.logits = inputs[0].floats();
  arguments.output = static_cast<uint8_t*>(labels);
  const bool asked = confidence != nullptr && second_output_shape(inputs)[1] != 0;
  arguments.confidence = asked ? static_cast<uint8_t*>(confidence) : nullptr;
  run_kernel(kernels_.segmentation_labels, arguments, scratch_, threads);
}

}  // namespace arseg
