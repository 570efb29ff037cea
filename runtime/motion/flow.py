"""Motion from the decoded pictures alone: dense inverse search (Kroeger et al., ECCV 2016), by OpenCV.

The flow goes straight to the keyframe, so that errors do not add up from frame to frame, and starts at a
guess, so that it need not find long ways by itself.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from arseg_edge.runtime.motion.agreement import Positions
from arseg_edge.runtime.motion.luma import Luma

_PATCH: Final = 8


class Flow:
    """Optical flow of working pictures; one object for each thread."""

    def __init__(self, *, finest: int, stride: int, iterations: int) -> None:
        """Set up.

        Args:
            finest: the finest picture that is searched is smaller than the working one by 2 ** ``finest``.
            stride: pixels of that picture from one 8x8 patch to the next.
            iterations: of gradient descent, for each patch.
        """
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._search.setFinestScale(finest)
        self._search.setPatchSize(_PATCH)
        self._search.setPatchStride(stride)
        self._search.setGradientDescentIterations(iterations)
        # A camera's exposure changes: patches are compared less their mean.
        self._search.setUseMeanNormalization(True)

    def find(self, luma: Luma, keyframe: Luma, grid: Positions, start: Positions) -> Positions:
        """Where in the keyframe the content of ``luma`` lies, searched from ``start``."""
        displacement = cv2.subtract(start, grid)
        return np.asarray(cv2.add(self._search.calc(luma, keyframe, displacement), grid), np.float32)
