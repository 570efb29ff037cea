"""Choosing among guesses where the keyframe shows a frame's content, by which one shows what the frame shows.

A guess is a map of *positions*, float32 [h, w, 2]: (x, y) in the keyframe for each pixel of the frame.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.operators import Sampling
from arseg_edge.runtime.motion.luma import Luma

Positions = npt.NDArray[np.float32]

MISMATCH: Final = 12
"""Grey levels: a pixel whose surroundings differ by more shows something else."""

_SAME_EXPOSURE: Final = 0.02
_EXPOSURES: Final = (0.5, 2.0)
"""A larger change is no matter of exposure."""


def pixel_grid(height: int, width: int) -> Positions:
    """Each pixel's own position, float32 [height, width, 2]."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], axis=-1)


def resized(displacement: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    """The same motion of a picture of another size: fewer or more vectors, [height, width, 2], in its pixels."""
    rows, columns = displacement.shape[:2]
    factors: Any = (width / columns, height / rows, 0, 0)  # NumPy takes five times as long for pairs
    if height * width < rows * columns:
        smaller = cv2.resize(displacement, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.multiply(smaller, factors), np.float32)
    larger = cv2.resize(cv2.multiply(displacement, factors), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(larger, np.float32)


def fitting(
    displacement: npt.NDArray[np.float32], size: tuple[int, int], sampling: Sampling
) -> npt.NDArray[np.float32]:
    """The same motion on a grid that ``MotionWarp`` takes beside a frame of ``size`` (``manifest.MotionRule``): any for
    ``consistent`` sampling, and for ``published`` one of the frame's proportions."""
    rows, columns = displacement.shape[:2]
    if sampling == "consistent" or rows * size[1] == columns * size[0]:
        return displacement
    return resized(displacement, *size)


def look_up(
    source: npt.NDArray[Any], places: npt.NDArray[Any], interpolation: int, out: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any]:
    """``source`` at ``places``, where those outside the picture are taken to its border; written to ``out``, if any."""
    no_second_map: Any = None  # OpenCV's stubs do not know that there need not be one
    found = cv2.remap(source, places, no_second_map, interpolation, out, cv2.BORDER_REPLICATE)
    return np.asarray(found)


def disagreement(luma: Luma, keyframe: Luma, positions: Positions | None, side: int) -> Luma:
    """How far the keyframe at these positions (None: the same place) differs from the frame around each pixel.

    The mean absolute difference over ``side`` x ``side`` pixels, in grey levels.
    """
    shown = keyframe if positions is None else look_up(keyframe, positions, cv2.INTER_LINEAR)
    return np.asarray(cv2.blur(cv2.absdiff(luma, shown), (side, side)), np.uint8)


def exposed_like(luma: Luma, other: Luma) -> Luma:
    """``luma`` as bright on the whole as ``other``, which shows the same, where exposure has changed."""
    gain = (cv2.mean(other)[0] + 1) / (cv2.mean(luma)[0] + 1)
    if abs(gain - 1) < _SAME_EXPOSURE:
        return luma
    return np.asarray(cv2.convertScaleAbs(luma, alpha=float(np.clip(gain, *_EXPOSURES))), np.uint8)


class Choice:
    """The best of the guesses taken so far, pixel by pixel; the earlier one where two are as good.

    The first guess is taken over, and changed.
    """

    def __init__(self, luma: Luma, keyframe: Luma, first: Positions, side: int) -> None:
        shown = np.asarray(look_up(keyframe, first, cv2.INTER_LINEAR), np.uint8)
        self.luma = exposed_like(luma, shown)
        """The frame, as bright as the keyframe."""
        self.positions = first
        self.difference = np.asarray(cv2.blur(cv2.absdiff(self.luma, shown), (side, side)), np.uint8)
        self._keyframe, self._side = keyframe, side

    def offer(self, guess: Positions, *, still: bool = False) -> None:
        """Take one more; ``still`` says that it is the grid itself."""
        difference = disagreement(self.luma, self._keyframe, None if still else guess, self._side)
        cv2.copyTo(guess, cv2.compare(difference, self.difference, cv2.CMP_LT), self.positions)
        cv2.min(difference, self.difference, self.difference)


def mismatch(difference: Luma) -> float:
    """The share of pixels that differ by more than ``MISMATCH``."""
    return float(np.count_nonzero(difference > MISMATCH) / difference.size)
