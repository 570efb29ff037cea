"""Chaining in fractions of a pixel: bilinear look-up of what the reference knew.

Not part of the paper; whole pixels lose up to half a pixel a frame, which adds up over an interval. The
vectors' fractions are quarters or halves, so the look-up's own resolution, 1/32 pixel, loses nothing.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.runtime.motion.agreement import look_up
from arseg_edge.runtime.motion.chain import MotionChain


class SubpixelChain(MotionChain):
    """Fractions of a pixel, bilinear."""

    dtype = np.float32

    @staticmethod
    def _steps(vectors: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        return vectors

    @staticmethod
    def _look_up(positions: npt.NDArray[Any], places: npt.NDArray[Any], found: npt.NDArray[Any]) -> None:
        look_up(positions, places, cv2.INTER_LINEAR, found)
