// What one SIMD level offers.

#include "kernels/level.h"

namespace arseg {
namespace ARSEG_LEVEL {

extern const KernelSet kernel_set;
const KernelSet kernel_set = {
    ARSEG_LEVEL_NAME, motion_warp_kernel,         local_attention_kernel,
    creff_kernel,     segmentation_labels_kernel, normalize_image_kernel,
    moved_labels_kernel, block_steps,
};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
