// `runtime/labels/` calls these: C functions on plain memory, whose twins in NumPy are there.
//
// They return 1, or 0 where they refuse: they then have written nothing. What they cannot see are the sizes of the arrays,
// which the caller checks.

#pragma once

#include "export.h"
#include "kernels/kernels.h"

// For each block of 8×8 pixels the one label of it and its neighbours to the right, below, and below to the right, as far
// as there are such: uint8 [⌈height/8⌉, ⌈width/8⌉]; kMixedLabels where there are several.
ARSEG_EXPORT int arseg_uniform_labels(int64_t height, int64_t width, const uint8_t* labels, uint8_t* uniform);

ARSEG_EXPORT int arseg_moved_labels(const arseg::MovedLabelsArguments* arguments);
