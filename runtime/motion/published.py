"""Chaining in whole pixels, as the published AR-Seg models had it in training and evaluation.

A vector is rounded to whole pixels, halves to the even number; the place it points to is clipped to the
picture; what the reference already knew there is inherited. The displacement is the one *after* the
clipping. This reproduces the authors' maps exactly (Hu et al., CVPR 2023; ``tests/runtime/test_motion.py``).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.runtime.motion.agreement import look_up
from arseg_edge.runtime.motion.chain import Motion, MotionChain
from arseg_edge.runtime.motion.native import chain_published
from arseg_edge.runtime.motion.vectors import BlockMotion

_FAR = 1 << 14  # beyond any picture, and its sum with a coordinate still fits into 16 bits


class PublishedChain(MotionChain):
    """Whole pixels, halves rounded to even."""

    dtype = np.int16

    def _join(
        self, blocks: BlockMotion, known: list[npt.NDArray[Any]], positions: npt.NDArray[Any], motion: Motion
    ) -> None:
        own = positions[: blocks.height]
        if not chain_published(blocks.displacement, blocks.reference, known, own, motion):
            super()._join(blocks, known, positions, motion)

    @staticmethod
    def _steps(vectors: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        return np.clip(np.rint(vectors), -_FAR, _FAR).astype(np.int16)

    @staticmethod
    def _look_up(positions: npt.NDArray[Any], places: npt.NDArray[Any], found: npt.NDArray[Any]) -> None:
        # A pair is moved as one number, which OpenCV does twice as fast.
        look_up(positions.view(np.int32), places, cv2.INTER_NEAREST, found.view(np.int32))
