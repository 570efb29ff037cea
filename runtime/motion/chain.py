"""The chain of motion from a frame back to its keyframe.

What is kept for each frame is not the displacement but the *position*: where in the keyframe the content
of a pixel lies. A new frame looks its references' positions up at the places its vectors point to, so

    position(x) = position of the reference at (x + vector),    motion(x) = position(x) - x,

and a look-up clipped to the picture keeps every position inside the keyframe. An intra block has no
vector; it inherits from the same place in the frame before (vector 0).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Any, ClassVar, Final

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.errors import SequenceError
from arseg_edge.runtime.motion.vectors import INTRA, BlockMotion, spread

REFERENCES: Final = 3
"""How many frames back a vector can reach: the most that the published models' streams use."""

Motion = npt.NDArray[np.float32]
"""[H, W, 2], (dx, dy) in pixels from the frame to its keyframe."""


class MotionChain(ABC):
    """Joins the motion of consecutive frames; ``restart`` at each keyframe, ``advance`` at all others."""

    dtype: ClassVar[type[np.generic]]
    """Of positions."""

    def __init__(self) -> None:
        self._grid: npt.NDArray[Any] = np.empty((0, 0, 2), self.dtype)
        self._positions: deque[npt.NDArray[Any]] = deque(maxlen=REFERENCES)

    def restart(self, height: int, width: int) -> None:
        """Begin at a keyframe of ``height`` x ``width`` pixels."""
        if self._grid.shape[:2] != (height, width):
            x, y = np.meshgrid(np.arange(width, dtype=self.dtype), np.arange(height, dtype=self.dtype))
            self._grid = np.stack([x, y], axis=-1)
        self._positions.clear()
        self._positions.append(self._grid)

    def advance(self, blocks: BlockMotion) -> Motion:
        """Take one more frame; returns its motion to the keyframe, a new array each time.

        A reference before the keyframe is taken for the keyframe.

        Raises:
            SequenceError: before any ``restart``, or when the size is not that of the keyframe.
        """
        height, width = self._grid.shape[:2]
        if not self._positions or (blocks.height, blocks.width) != (height, width):
            raise SequenceError(
                f"motion of {blocks.width}x{blocks.height} pixels does not follow a keyframe of that size; "
                "restart the chain first"
            )
        vectors = np.where(blocks.reference[..., None] == INTRA, np.float32(0), blocks.displacement)
        places = self._places(self._grid, vectors)
        positions = self._look_up(self._positions[-1], places)
        for back in range(1, int(blocks.reference.max(initial=0)) + 1):
            older = self._positions[-1 - min(back, len(self._positions) - 1)]
            chosen = spread((blocks.reference == back).astype(np.uint8), height, width).astype(np.bool_)
            positions[chosen] = self._look_up(older, places)[chosen]
        self._positions.append(positions)
        # NumPy would first make both float32, and take five times as long.
        return np.asarray(cv2.subtract(positions, self._grid, dtype=cv2.CV_32F), np.float32)

    def adopt(self, motion: Motion) -> None:
        """Take a frame whose motion was found elsewhere, [H, W, 2]; rounded where the chain is in whole pixels.

        Raises:
            SequenceError: as ``advance``.
        """
        if not self._positions or motion.shape != self._grid.shape:
            raise SequenceError("motion does not follow a keyframe of its size; restart the chain first")
        positions = self._grid + motion
        self._positions.append((positions if self.dtype is np.float32 else np.rint(positions)).astype(self.dtype))

    @staticmethod
    @abstractmethod
    def _places(grid: npt.NDArray[Any], vectors: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Where in its reference each pixel [H, W, 2] comes from; can lie outside the picture.

        ``vectors`` has one vector for each 8x8 block, [rows, columns, 2].
        """

    @staticmethod
    @abstractmethod
    def _look_up(positions: npt.NDArray[Any], places: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The reference's positions at these places, clipped to the picture: a new array [H, W, 2]."""
