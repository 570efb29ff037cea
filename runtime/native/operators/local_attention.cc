#include "operators/operators.h"

namespace arseg {

LocalAttention::LocalAttention(const Attributes& attributes) : kernel_size_(kernel_size_attribute(attributes)) {}

Shape LocalAttention::output_shape(const Tensor* inputs) const {
  const Shape& query = inputs[0].shape;
  require_shape(inputs[0], "query", {kAny, kAny, kAny, kAny});
  require_shape(inputs[1], "key", {query[0], query[1], query[2], query[3]});
  require_shape(inputs[2], "value", {query[0], query[1], query[2], query[3]});
  require_pixels("query", query[2], query[3]);
  require_channels("query", query[1]);
  return query;
}

void LocalAttention::compute(const Tensor* inputs, void* output, const Threads& threads) const {
  const Shape& query = inputs[0].shape;
  LocalAttentionArguments arguments{};
  arguments.batch = query[0], arguments.channels = query[1];
  arguments.height = query[2], arguments.width = query[3];
  arguments.kernel_size = kernel_size_;
  arguments.query = inputs[0].floats(), arguments.key = inputs[1].floats(), arguments.value = inputs[2].floats();
  arguments.output = static_cast<float*>(output);
  run_kernel(kernels_.local_attention, arguments, scratch_, threads);
}

}  // namespace arseg
