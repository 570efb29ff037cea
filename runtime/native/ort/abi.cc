#include "ort/abi.h"

namespace {

template <typename Function>
void bind(const OrtApi* api, size_t position, Function& function) {
  function = reinterpret_cast<Function>(reinterpret_cast<void (*const*)()>(api)[position]);
}

}  // namespace

OrtFunctions::OrtFunctions(const OrtApi* api) {
  bind(api, 0, CreateStatus);
  bind(api, 2, GetErrorMessage);
  bind(api, 26, CreateCustomOpDomain);
  bind(api, 27, CustomOpDomain_Add);
  bind(api, 28, AddCustomOpDomain);
  bind(api, 51, GetTensorMutableData);
  bind(api, 60, GetTensorElementType);
  bind(api, 61, GetDimensionsCount);
  bind(api, 62, GetDimensions);
  bind(api, 65, GetTensorTypeAndShape);
  bind(api, 85, KernelInfoGetAttribute_float);
  bind(api, 86, KernelInfoGetAttribute_int64);
  bind(api, 87, KernelInfoGetAttribute_string);
  bind(api, 88, KernelContext_GetInputCount);
  bind(api, 89, KernelContext_GetOutputCount);
  bind(api, 90, KernelContext_GetInput);
  bind(api, 91, KernelContext_GetOutput);
  bind(api, 93, ReleaseStatus);
  bind(api, 99, ReleaseTensorTypeAndShapeInfo);
  bind(api, 268, ShapeInferContext_GetInputTypeShape);
  bind(api, 270, ShapeInferContext_SetOutputTypeShape);
  bind(api, 274, KernelContext_ParallelFor);
}

OrtStatus* create_status(const OrtApi* api, const char* message) {
  decltype(OrtFunctions::CreateStatus) create = nullptr;
  bind(api, 0, create);
  return create(ORT_FAIL, message);
}
