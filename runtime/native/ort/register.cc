// The library's entry points for ONNX Runtime and reports; those for motion are in `motion/`.

#include <cstdio>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "export.h"
#include "interface.h"
#include "operators/operators.h"
#include "ort/adapter.h"

namespace arseg {
namespace {

// ONNX Runtime keeps pointers to domain and operators for as long as sessions live, so a registry lives for ever.
// There is one for each ONNX Runtime in the process, which is one.
struct Registry {
  explicit Registry(const OrtApi* api) : ort(api) {}

  OrtFunctions ort;
  Adapter<MotionWarp> motion_warp{ort};
  Adapter<LocalAttention> local_attention{ort};
  Adapter<Creff> creff{ort};
  Adapter<SegmentationLabels> segmentation_labels{ort};
  Adapter<NormalizeImage> normalize_image{ort};
  Adapter<MotionWarpUint8> motion_warp_uint8{ort};
  Adapter<CreffUint8> creff_uint8{ort};
  Adapter<NormalizeImageUint8> normalize_image_uint8{ort};
  OrtCustomOpDomain* domain = nullptr;

  void fill_domain() {
    check(ort, ort.CreateCustomOpDomain("arseg", &domain));
    for (const OrtCustomOp* op : std::initializer_list<const OrtCustomOp*>{
             &motion_warp, &local_attention, &creff, &segmentation_labels, &normalize_image, &motion_warp_uint8,
             &creff_uint8, &normalize_image_uint8}) {
      check(ort, ort.CustomOpDomain_Add(domain, op));
    }
  }
};

Registry& registry_for(const OrtApi* api) {
  static std::mutex mutex;
  static auto& registries = *new std::vector<std::pair<const OrtApi*, Registry*>>;
  const std::lock_guard<std::mutex> lock(mutex);
  for (const auto& [known, registry] : registries) {
    if (known == api) return *registry;
  }
  auto registry = std::make_unique<Registry>(api);
  registry->fill_domain();
  registries.emplace_back(api, registry.get());
  return *registry.release();
}

}  // namespace
}  // namespace arseg

ARSEG_EXPORT OrtStatus* ARSEG_ORT_CALL RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* const api = base->GetApi(kOrtApiVersion);
  if (api == nullptr) {
    char message[160];
    std::snprintf(message, sizeof message, "arseg: needs ONNX Runtime 1.17 or newer (API version %u), found %s",
                  static_cast<unsigned>(kOrtApiVersion), base->GetVersionString());
    return create_status(base->GetApi(1), message);
  }
  const OrtFunctions ort(api);
  return arseg::guarded(ort, "RegisterCustomOps",
                        [&] { arseg::check(ort, ort.AddCustomOpDomain(options, arseg::registry_for(api).domain)); });
}

// The SIMD level that operators created now would use, or null where ARSEG_EDGE_SIMD names one that cannot run.
ARSEG_EXPORT const char* arseg_simd() {
  try {
    return arseg::choose_kernels().level;
  } catch (...) {
    return nullptr;
  }
}

ARSEG_EXPORT int arseg_interface() { return arseg::kInterface; }
