#include "ort/adapter.h"

#include <atomic>
#include <cstring>

namespace arseg {

void check(const OrtFunctions& ort, OrtStatus* status) {
  if (status == nullptr) return;
  const std::string message = ort.GetErrorMessage(status);
  ort.ReleaseStatus(status);
  throw Error(message);
}

namespace {

bool succeeds(const OrtFunctions& ort, OrtStatus* status) {
  if (status == nullptr) return true;
  ort.ReleaseStatus(status);
  return false;
}

}  // namespace

// ONNX Runtime says only that a getter failed; which one succeeds tells an absent attribute from one of another type.
OrtAttributes::Type OrtAttributes::type_of(const char* name) const {
  size_t size = 0;
  int64_t integer = 0;
  float number = 0;
  if (succeeds(ort_, ort_.KernelInfoGetAttribute_string(info_, name, nullptr, &size))) return Type::kString;
  if (succeeds(ort_, ort_.KernelInfoGetAttribute_int64(info_, name, &integer))) return Type::kInteger;
  if (succeeds(ort_, ort_.KernelInfoGetAttribute_float(info_, name, &number))) return Type::kNumber;
  return Type::kAbsent;
}

std::string OrtAttributes::string(const char* name) const {
  require(type_of(name) == Type::kString, "attribute ", name, " is missing or not a string");
  size_t size = 0;
  check(ort_, ort_.KernelInfoGetAttribute_string(info_, name, nullptr, &size));
  std::string value(size, '\0');
  check(ort_, ort_.KernelInfoGetAttribute_string(info_, name, value.data(), &size));
  value.resize(std::strlen(value.c_str()));
  return value;
}

int64_t OrtAttributes::integer(const char* name, int64_t otherwise) const {
  const Type type = type_of(name);
  if (type == Type::kAbsent) return otherwise;
  require(type == Type::kInteger, "attribute ", name, " is not an integer");
  int64_t value = 0;
  check(ort_, ort_.KernelInfoGetAttribute_int64(info_, name, &value));
  return value;
}

float OrtAttributes::number(const char* name) const {
  require(type_of(name) == Type::kNumber, "attribute ", name, " is missing or not a float");
  float value = 0;
  check(ort_, ort_.KernelInfoGetAttribute_float(info_, name, &value));
  return value;
}

void OrtThreads::run(int64_t count, Task task, void* context) const {
  struct Call {
    Task task;
    void* context;
    std::atomic_flag failed = ATOMIC_FLAG_INIT;
    std::exception_ptr error;
  };
  Call call{task, context, ATOMIC_FLAG_INIT, nullptr};
  const auto one = [](void* opaque, size_t index) {
    Call& call = *static_cast<Call*>(opaque);
    try {
      call.task(call.context, static_cast<int64_t>(index));
    } catch (...) {
      if (!call.failed.test_and_set()) call.error = std::current_exception();
    }
  };
  // 0 batches: tasks are handed out one by one, so that threads which are slowed down get fewer.
  check(ort_, ort_.KernelContext_ParallelFor(context_, one, static_cast<size_t>(count), 0, &call));
  if (call.error) std::rethrow_exception(call.error);
}

void read_inputs(const OrtFunctions& ort, const OrtKernelContext* context, const Signature& signature, Tensor* inputs) {
  size_t count = 0;
  check(ort, ort.KernelContext_GetInputCount(context, &count));
  const int required = signature.input_count - signature.optional_inputs;
  require(count >= static_cast<size_t>(required) && count <= static_cast<size_t>(signature.input_count), count,
          " inputs, expected ", signature.input_count);
  for (int i = 0; i < static_cast<int>(count); ++i) {
    const OrtValue* value = nullptr;
    check(ort, ort.KernelContext_GetInput(context, static_cast<size_t>(i), &value));
    if (value == nullptr && i >= required) continue;
    require(value != nullptr, "input ", i, " is missing");
    OrtTensorTypeAndShapeInfo* description = nullptr;
    check(ort, ort.GetTensorTypeAndShape(value, &description));
    struct Releaser {
      const OrtFunctions& ort;
      void operator()(OrtTensorTypeAndShapeInfo* info) const { ort.ReleaseTensorTypeAndShapeInfo(info); }
    };
    const std::unique_ptr<OrtTensorTypeAndShapeInfo, Releaser> owner(description, Releaser{ort});
    ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    check(ort, ort.GetTensorElementType(description, &element));
    require(element == static_cast<ONNXTensorElementDataType>(signature.inputs[i]), "input ", i, " has element type ",
            static_cast<int>(element), ", expected ", static_cast<int>(signature.inputs[i]), " (ONNX TensorProto)");
    size_t rank = 0;
    check(ort, ort.GetDimensionsCount(description, &rank));
    require(rank <= static_cast<size_t>(kMaxRank), "input ", i, " has rank ", rank, ", at most ", kMaxRank);
    inputs[i].element = signature.inputs[i];
    inputs[i].shape.rank = static_cast<int>(rank);
    check(ort, ort.GetDimensions(description, inputs[i].shape.dims, rank));
    void* data = nullptr;
    check(ort, ort.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
    inputs[i].data = data;
  }
}

size_t output_count(const OrtFunctions& ort, const OrtKernelContext* context) {
  size_t count = 0;
  check(ort, ort.KernelContext_GetOutputCount(context, &count));
  return count;
}

void* make_output(const OrtFunctions& ort, OrtKernelContext* context, size_t index, const Shape& shape) {
  OrtValue* value = nullptr;
  check(ort, ort.KernelContext_GetOutput(context, index, shape.dims, static_cast<size_t>(shape.rank), &value));
  if (value == nullptr) return nullptr;  // left out
  void* data = nullptr;
  check(ort, ort.GetTensorMutableData(value, &data));
  return data;
}

void copy_input_shape(const OrtFunctions& ort, OrtShapeInferContext* context, int input) {
  OrtTensorTypeAndShapeInfo* description = nullptr;  // the context's own
  check(ort, ort.ShapeInferContext_GetInputTypeShape(context, static_cast<size_t>(input), &description));
  check(ort, ort.ShapeInferContext_SetOutputTypeShape(context, 0, description));
}

}  // namespace arseg
