// `runtime/labels/moved.py` calls this: a C function on plain memory, whose twin in NumPy is there.
//
// It returns 1, or 0 where it refuses: it then has written nothing. What it cannot see are the sizes of the arrays, which
// the caller checks.

#pragma once

#include "export.h"
#include "kernels/kernels.h"

ARSEG_EXPORT int arseg_moved_labels(const arseg::MovedLabelsArguments* arguments);
