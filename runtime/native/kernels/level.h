// The kernels of the level being compiled. The build gives ARSEG_LEVEL and the compiler flags that go with it.
//
// Kernel files use no inline functions of the standard library and put everything into the level's namespace:
// otherwise the linker could pick one level's copy of a shared function for all of them.

#pragma once

#include "kernels/kernels.h"

#if !defined(ARSEG_LEVEL)
#error "compiled by CMakeLists.txt, once for each ARSEG_LEVEL"
#endif

#define ARSEG_QUOTE(name) #name
#define ARSEG_QUOTE_VALUE(name) ARSEG_QUOTE(name)
#define ARSEG_LEVEL_NAME ARSEG_QUOTE_VALUE(ARSEG_LEVEL)

namespace arseg {
namespace ARSEG_LEVEL {

extern const Kernel<MotionWarpArguments> motion_warp_kernel;
extern const Kernel<LocalAttentionArguments> local_attention_kernel;
extern const Kernel<CreffArguments> creff_kernel;
extern const Kernel<SegmentationLabelsArguments> segmentation_labels_kernel;
extern const Kernel<NormalizeImageArguments> normalize_image_kernel;
extern const Kernel<MovedLabelsArguments> moved_labels_kernel;
extern const BlockSteps block_steps;

}  // namespace ARSEG_LEVEL
}  // namespace arseg
