"""The parts of motion that the native library does, several times as fast as NumPy and OpenCV.

Each function has a twin in Python at its caller's, which takes over where a function gives False or None: where the
library is missing or turned off, and for arrays of another form than expected. Results are the same to the bit; those
of ``followed`` are those of OpenCV 5 and may differ from other versions' in the last one.
The library is called through ``ctypes``, which lets other threads run meanwhile.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from arseg_edge.runtime.native import library

RECORD: Final = np.dtype(
    [
        ("source", np.int32),
        ("w", np.uint8),
        ("h", np.uint8),
        ("src_x", np.int16),
        ("src_y", np.int16),
        ("dst_x", np.int16),
        ("dst_y", np.int16),
        ("flags", np.uint64),
        ("motion_x", np.int32),
        ("motion_y", np.int32),
        ("motion_scale", np.uint16),
    ],
    align=True,
)
"""FFmpeg's ``AVMotionVector``."""

_SIZES: Final = [ctypes.c_int64] * 4  # height, width, rows, columns
_ARRAY: Final = ctypes.c_void_p
_ARGUMENTS: Final[dict[str, list[Any]]] = {
    "arseg_published": [*_SIZES, _ARRAY, _ARRAY, _ARRAY, ctypes.c_int64, _ARRAY, _ARRAY],
    "arseg_vectors": [*_SIZES, _ARRAY, ctypes.c_int64, _ARRAY, _ARRAY],
    "arseg_block_luma": [ctypes.c_int64] * 3 + [_ARRAY] * 2,
    "arseg_follow": [ctypes.c_int64] * 3 + [_ARRAY] * 6,
    "arseg_difference": [ctypes.c_int64] * 2 + [_ARRAY] * 3,
}
"""As ``runtime/native/motion/motion.h`` declares them."""


def chain_published(
    displacement: npt.NDArray[np.float32],
    reference: npt.NDArray[np.int8],
    known: Sequence[npt.NDArray[np.int16]],
    positions: npt.NDArray[np.int16],
    motion: npt.NDArray[np.float32],
) -> bool:
    """One more frame of H x W pixels for ``PublishedChain``: whether ``positions`` and ``motion`` were written.

    Args:
        displacement: of its blocks, [rows, columns, 2] in pixels.
        reference: of its blocks, [rows, columns].
        known: positions in the keyframe of the frames before, the last one first, each [H, W, 2].
        positions: the same of this frame.
        motion: of this frame to the keyframe, [H, W, 2] in pixels.
    """
    function = _function("arseg_published")
    pixels, blocks = (*positions.shape[:2], 2), reference.shape
    if (
        function is None
        or len(blocks) != 2
        or not all(_is(each, np.int16, pixels) for each in (*known, positions))
        or not _is(motion, np.float32, pixels)
        or not _is(displacement, np.float32, (*blocks, 2))
        or not _is(reference, np.int8, blocks)
    ):
        return False
    frames = (ctypes.c_void_p * len(known))(*[each.ctypes.data for each in known])
    done = function(
        *(*pixels[:2], *blocks),
        *(displacement.ctypes.data, reference.ctypes.data, frames, len(known)),
        *(positions.ctypes.data, motion.ctypes.data),
    )
    return bool(done)


def grid_vectors(
    records: npt.NDArray[Any], height: int, width: int, blocks: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]] | None:
    """The records [n] of a ``height`` x ``width`` picture on its grid of ``blocks`` (rows, columns).

    Displacements [2, rows, columns, 2] in pixels, and references [2, rows, columns]: of list 0 and of list 1.
    """
    function = _function("arseg_vectors")
    if function is None or not _is(records, RECORD, (len(records),)):
        return None
    displacement, reference = np.empty((2, *blocks, 2), np.float32), np.empty((2, *blocks), np.int8)
    done = function(
        *(height, width, *blocks),
        *(records.ctypes.data, len(records)),
        *(displacement.ctypes.data, reference.ctypes.data),
    )
    return (displacement, reference) if done else None


def mean_blocks(plane: npt.NDArray[np.uint8], blocks: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
    """The mean of each 8x8 block of a grey picture, for ``block_luma``."""
    function = _function("arseg_block_luma")
    if function is None or plane.dtype != np.uint8 or plane.ndim != 2 or plane.strides[1] != 1:
        return None
    means = np.empty(blocks, np.uint8)
    return means if function(*plane.shape, plane.strides[0], plane.ctypes.data, means.ctypes.data) else None


def followed(
    known: npt.NDArray[np.float32], step: npt.NDArray[np.float32], anchor: npt.NDArray[np.uint8], *, inverse: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.uint8]] | None:
    """One frame further from an anchor, for ``anchors.py``: positions, motion, and what the anchor shows there.

    Args:
        known: positions in the anchor of the frame that ``step`` leads to.
        step: a displacement.
        anchor: its brightness.
        inverse: steps of the fixed point by which ``step`` is inverted first; 0: not at all.
    """
    function, blocks = _function("arseg_follow"), anchor.shape
    if (
        function is None
        or len(blocks) != 2
        or not _is(known, np.float32, (*blocks, 2))
        or not _is(step, np.float32, (*blocks, 2))
        or not _is(anchor, np.uint8, blocks)
    ):
        return None
    positions, motion, shown = np.empty_like(known), np.empty_like(known), np.empty_like(anchor)
    arrays = (each.ctypes.data for each in (known, step, anchor, positions, motion, shown))
    return (positions, motion, shown) if function(*blocks, inverse, *arrays) else None


def mean_difference(luma: npt.NDArray[np.uint8], shown: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | None:
    """The mean absolute difference over 3x3 blocks, for ``anchors.py``."""
    function, blocks = _function("arseg_difference"), luma.shape
    if function is None or len(blocks) != 2 or not all(_is(each, np.uint8, blocks) for each in (luma, shown)):
        return None
    found = np.empty_like(luma)
    return found if function(*blocks, *(each.ctypes.data for each in (luma, shown, found))) else None


def _is(array: npt.NDArray[Any], dtype: npt.DTypeLike, shape: tuple[int, ...]) -> bool:
    return array.shape == shape and array.dtype == dtype and array.flags.c_contiguous


def _function(name: str) -> Callable[..., int] | None:
    loaded = library()
    return None if loaded is None else _declared(loaded, name)


@cache
def _declared(loaded: ctypes.CDLL, name: str) -> Callable[..., int]:
    function: Any = getattr(loaded, name)
    function.argtypes, function.restype = _ARGUMENTS[name], ctypes.c_int
    return cast("Callable[..., int]", function)
