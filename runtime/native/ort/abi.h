// The part of ONNX Runtime's C ABI that this library uses, declared by hand: its Python wheels carry no headers.
//
// `OrtApi` is a table of function pointers to which versions only append, so a position, once released, holds.
// Version 17 is the oldest with `KernelContext_ParallelFor`.

#pragma once

#include <cstddef>
#include <cstdint>

#if defined(_WIN32)
#define ARSEG_ORT_CALL __stdcall
#else
#define ARSEG_ORT_CALL
#endif

struct OrtStatus;
struct OrtValue;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtTensorTypeAndShapeInfo;
struct OrtShapeInferContext;

constexpr uint32_t kOrtApiVersion = 17;

enum OrtErrorCode { ORT_OK = 0, ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2, ORT_RUNTIME_EXCEPTION = 6 };
enum ONNXTensorElementDataType {
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED = 0,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 = 2,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 = 7,
};
enum OrtCustomOpInputOutputCharacteristic { INPUT_OUTPUT_REQUIRED = 0, INPUT_OUTPUT_OPTIONAL = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };

// Opaque: its entries are reached by position, through `OrtFunctions`.
struct OrtApi;

struct OrtApiBase {
  const OrtApi*(ARSEG_ORT_CALL* GetApi)(uint32_t version);
  const char*(ARSEG_ORT_CALL* GetVersionString)();
};

// The entries in use, typed; the comment gives each one's position in `OrtApi`.
struct OrtFunctions {
  explicit OrtFunctions(const OrtApi* api);

  OrtStatus*(ARSEG_ORT_CALL* CreateStatus)(OrtErrorCode, const char*);                            // 0
  const char*(ARSEG_ORT_CALL* GetErrorMessage)(const OrtStatus*);                                 // 2
  OrtStatus*(ARSEG_ORT_CALL* CreateCustomOpDomain)(const char*, OrtCustomOpDomain**);             // 26
  OrtStatus*(ARSEG_ORT_CALL* CustomOpDomain_Add)(OrtCustomOpDomain*, const struct OrtCustomOp*);  // 27
  OrtStatus*(ARSEG_ORT_CALL* AddCustomOpDomain)(OrtSessionOptions*, OrtCustomOpDomain*);          // 28
  OrtStatus*(ARSEG_ORT_CALL* GetTensorMutableData)(OrtValue*, void**);                            // 51
  OrtStatus*(ARSEG_ORT_CALL* GetTensorElementType)(const OrtTensorTypeAndShapeInfo*,
                                                   ONNXTensorElementDataType*);                           // 60
  OrtStatus*(ARSEG_ORT_CALL* GetDimensionsCount)(const OrtTensorTypeAndShapeInfo*, size_t*);              // 61
  OrtStatus*(ARSEG_ORT_CALL* GetDimensions)(const OrtTensorTypeAndShapeInfo*, int64_t*, size_t);          // 62
  OrtStatus*(ARSEG_ORT_CALL* GetTensorTypeAndShape)(const OrtValue*, OrtTensorTypeAndShapeInfo**);        // 65
  OrtStatus*(ARSEG_ORT_CALL* KernelInfoGetAttribute_float)(const OrtKernelInfo*, const char*, float*);    // 85
  OrtStatus*(ARSEG_ORT_CALL* KernelInfoGetAttribute_int64)(const OrtKernelInfo*, const char*, int64_t*);  // 86
  OrtStatus*(ARSEG_ORT_CALL* KernelInfoGetAttribute_string)(const OrtKernelInfo*, const char*, char*,
                                                            size_t*);                                     // 87
  OrtStatus*(ARSEG_ORT_CALL* KernelContext_GetInputCount)(const OrtKernelContext*, size_t*);              // 88
  OrtStatus*(ARSEG_ORT_CALL* KernelContext_GetOutputCount)(const OrtKernelContext*, size_t*);             // 89
  OrtStatus*(ARSEG_ORT_CALL* KernelContext_GetInput)(const OrtKernelContext*, size_t, const OrtValue**);  // 90
  OrtStatus*(ARSEG_ORT_CALL* KernelContext_GetOutput)(OrtKernelContext*, size_t, const int64_t*, size_t,
                                                      OrtValue**);                  // 91
  void(ARSEG_ORT_CALL* ReleaseStatus)(OrtStatus*);                                  // 93
  void(ARSEG_ORT_CALL* ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*);  // 99
  OrtStatus*(ARSEG_ORT_CALL* ShapeInferContext_GetInputTypeShape)(const OrtShapeInferContext*, size_t,
                                                                  OrtTensorTypeAndShapeInfo**);  // 268
  OrtStatus*(ARSEG_ORT_CALL* ShapeInferContext_SetOutputTypeShape)(const OrtShapeInferContext*, size_t,
                                                                   const OrtTensorTypeAndShapeInfo*);  // 270
  OrtStatus*(ARSEG_ORT_CALL* KernelContext_ParallelFor)(const OrtKernelContext*, void (*)(void*, size_t), size_t,
                                                        size_t, void*);  // 274
};

// CreateStatus of any version's table, which may be too short for `OrtFunctions`.
OrtStatus* create_status(const OrtApi* api, const char* message);

// An operator as ONNX Runtime sees it; `version` says how far it reads, and 17 ends with GetEndVersion.
struct OrtCustomOp {
  uint32_t version;
  void*(ARSEG_ORT_CALL* CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char*(ARSEG_ORT_CALL* GetName)(const OrtCustomOp*);
  const char*(ARSEG_ORT_CALL* GetExecutionProviderType)(const OrtCustomOp*);
  ONNXTensorElementDataType(ARSEG_ORT_CALL* GetInputType)(const OrtCustomOp*, size_t);
  size_t(ARSEG_ORT_CALL* GetInputTypeCount)(const OrtCustomOp*);
  ONNXTensorElementDataType(ARSEG_ORT_CALL* GetOutputType)(const OrtCustomOp*, size_t);
  size_t(ARSEG_ORT_CALL* GetOutputTypeCount)(const OrtCustomOp*);
  void(ARSEG_ORT_CALL* KernelCompute)(void*, OrtKernelContext*);
  void(ARSEG_ORT_CALL* KernelDestroy)(void*);
  OrtCustomOpInputOutputCharacteristic(ARSEG_ORT_CALL* GetInputCharacteristic)(const OrtCustomOp*, size_t);
  OrtCustomOpInputOutputCharacteristic(ARSEG_ORT_CALL* GetOutputCharacteristic)(const OrtCustomOp*, size_t);
  OrtMemType(ARSEG_ORT_CALL* GetInputMemoryType)(const OrtCustomOp*, size_t);
  int(ARSEG_ORT_CALL* GetVariadicInputMinArity)(const OrtCustomOp*);
  int(ARSEG_ORT_CALL* GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int(ARSEG_ORT_CALL* GetVariadicOutputMinArity)(const OrtCustomOp*);
  int(ARSEG_ORT_CALL* GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus*(ARSEG_ORT_CALL* CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void**);
  OrtStatus*(ARSEG_ORT_CALL* KernelComputeV2)(void*, OrtKernelContext*);
  OrtStatus*(ARSEG_ORT_CALL* InferOutputShapeFn)(const OrtCustomOp*, OrtShapeInferContext*);
  int(ARSEG_ORT_CALL* GetStartVersion)(const OrtCustomOp*);
  int(ARSEG_ORT_CALL* GetEndVersion)(const OrtCustomOp*);
  size_t(ARSEG_ORT_CALL* GetMayInplace)(int**, int**);
  void(ARSEG_ORT_CALL* ReleaseMayInplace)(int*, int*);
  size_t(ARSEG_ORT_CALL* GetAliasMap)(int**, int**);
  void(ARSEG_ORT_CALL* ReleaseAliasMap)(int*, int*);
};
