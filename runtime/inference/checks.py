"""What callers with their own decoder hand in, checked before any of it reaches a network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from arseg_edge.errors import FrameError


def check_frame(rgb: NDArray[np.uint8]) -> None:
    """Raise FrameError unless ``rgb`` is uint8 [H, W, 3] with a pixel in it."""
    array = isinstance(rgb, np.ndarray) and rgb.dtype == np.uint8 and rgb.ndim == 3
    if not array or rgb.shape[2] != 3 or rgb.size == 0:
        found = f"{rgb.dtype} {list(rgb.shape)}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
        raise FrameError(f"frame is {found}, not a uint8 array [H, W, 3]: convert it to RGB first")


def checked_motion(motion: NDArray[np.floating[Any]], height: int, width: int) -> NDArray[np.float32]:
    """Return ``motion`` as float32; raise FrameError unless it is [height, width, 2] of finite numbers."""
    if not isinstance(motion, np.ndarray) or motion.dtype.kind not in "fi":
        found = motion.dtype if isinstance(motion, np.ndarray) else type(motion).__name__
        raise FrameError(f"motion is {found}, not an array of numbers: give float32 [H, W, 2] in pixels")
    if motion.shape != (height, width, 2):
        raise FrameError(f"motion is {list(motion.shape)}, not [{height}, {width}, 2]: one (dx, dy) a pixel")
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused below
        converted = motion.astype(np.float32, copy=False)
    bad = int(converted.size - np.isfinite(converted).sum())
    if bad:
        raise FrameError(f"motion has {bad} values that are NaN or infinite: make such frames keyframes")
    return converted
