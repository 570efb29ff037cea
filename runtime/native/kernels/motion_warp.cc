// MotionWarp: the keyframe's feature, sampled where each pixel came from.

#include <type_traits>

#include "kernels/level.h"
#include "kernels/warp_plan.h"

namespace arseg {
namespace ARSEG_LEVEL {
namespace {

constexpr int64_t kBandRows =
    8;  // planned at a time: eight rows of a plane are read in one go, and the plan fits into L2

int64_t bands(const MotionWarpArguments& a) { return (a.height + kBandRows - 1) / kBandRows; }

Work plan(const MotionWarpArguments& a) {
  return {a.batch * bands(a), kBandRows * WarpPlan::bytes(round_up(a.width, kLanes))};
}

void run(const MotionWarpArguments& a, int64_t task, void* scratch) {
  const WarpGeometry geometry{a.height, a.width, a.motion_height, a.motion_width, a.sampling};
  const int64_t image = task / bands(a);
  const int64_t y_begin = task % bands(a) * kBandRows;
  const int64_t rows = smaller(kBandRows, a.height - y_begin);
  const int64_t count = round_up(a.width, kLanes);
  const int64_t plane_size = a.height * a.width;

  WarpPlan plans[kBandRows];
  for (int64_t r = 0; r < rows; ++r) {
    plans[r] = warp_plan_in(static_cast<char*>(scratch) + r * WarpPlan::bytes(count), count);
    plan_row(geometry, a.motion + image * a.motion_height * a.motion_width * 2, y_begin + r, 0, count, plans[r]);
  }
  const int64_t right = geometry.step_right(), down = geometry.step_down();
  for (int64_t c = 0; c < a.channels; ++c) {
    const int64_t index = image * a.channels + c;
    with_plane(a.feature, c, index, plane_size, [&](const auto* plane, float zero, float scale) {
      using Pixel = std::remove_const_t<std::remove_pointer_t<decltype(plane)>>;
      const auto at = [&](const WarpPlan& row, int64_t x) {
        return scaled<Pixel>(sample(plane, right, down, row, x, zero), scale);
      };
      for (int64_t r = 0; r < rows; ++r) {
        float* output = a.output + index * plane_size + (y_begin + r) * a.width;
        int64_t x = 0;
        for (; x + kLanes <= a.width; x += kLanes) {
          ask_for_samples(plane + plane_size + down, plans[r], x);  // of the next channel
          store(output + x, at(plans[r], x));
        }
        if (x < a.width) store_first(output + x, at(plans[r], x), a.width - x);
      }
    });
  }
}

}  // namespace

const Kernel<MotionWarpArguments> motion_warp_kernel = {plan, run};

}  // namespace ARSEG_LEVEL
}  // namespace arseg
