"""Where labels are all the same: most of a picture, where moving them needs no look at single pixels."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from arseg_edge.runtime.motion.vectors import BLOCK
from arseg_edge.runtime.native import library

MIXED: Final = 255
"""As ``kMixedLabels`` of ``runtime/native/kernels/kernels.h``."""


def uniform_labels(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return for each block of 8x8 pixels of [H, W] the one label of it and its neighbours right and below.

    These are the block to the right, the one below, and the one below to the right, as far as there are such; where
    there are several labels in them, ``MIXED``. uint8 [ceil(H/8), ceil(W/8)].
    """
    height, width = labels.shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    loaded = library()
    if loaded is not None and labels.dtype == np.uint8 and labels.flags.c_contiguous:
        found = np.empty((rows, columns), np.uint8)
        if _function(loaded)(height, width, labels.ctypes.data, found.ctypes.data):
            return found
    return in_numpy(labels)


def in_numpy(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the same without the native library."""
    height, width = labels.shape
    y, x = np.arange(0, height, BLOCK), np.arange(0, width, BLOCK)
    lowest, highest = (f.reduceat(f.reduceat(labels, y, axis=0), x, axis=1) for f in (np.minimum, np.maximum))
    for axis in (0, 1):
        lowest = np.minimum(lowest, _next(lowest, axis))
        highest = np.maximum(highest, _next(highest, axis))
    return np.asarray(np.where(lowest == highest, lowest, np.uint8(MIXED)), np.uint8)


def _next(blocks: npt.NDArray[np.uint8], axis: int) -> npt.NDArray[np.uint8]:
    following = np.minimum(np.arange(blocks.shape[axis]) + 1, blocks.shape[axis] - 1)
    return np.asarray(blocks.take(following, axis), np.uint8)


@cache
def _function(loaded: ctypes.CDLL) -> Any:
    function = loaded.arseg_uniform_labels
    function.argtypes, function.restype = [ctypes.c_int64] * 2 + [ctypes.c_void_p] * 2, ctypes.c_int
    return function
