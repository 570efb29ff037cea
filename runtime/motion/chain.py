"""The chain of motion from a frame back to its keyframe.

What is kept for each frame is not the displacement but the *position*: where in the keyframe the content
of a pixel lies. A new frame looks its references' positions up at the places its vectors point to, so

    position(x) = position of the reference at (x + vector),    motion(x) = position(x) - x,

and a look-up clipped to the picture keeps every position inside the keyframe. An intra block has no
vector; it inherits from the same place in the last reference (vector 0).

A frame that no other is predicted from gets its motion, but is not kept: the next frame's vectors reach over it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from arseg_edge.errors import SequenceError
from arseg_edge.runtime.motion.vectors import BLOCK, BlockMotion, widened

REFERENCES: Final = 3
"""How many of the frames that others are predicted from are kept: the most that the published models' streams use.

Vectors that FFmpeg hands out do not say which of several they point to, so all are read as pointing to the last."""

_BAND: Final = 1 << 16
"""Pixels that are done at a time: what lies between the steps stays in the cache, and OpenCV on one thread."""

Motion = npt.NDArray[np.float32]
"""[H, W, 2], (dx, dy) in pixels from the frame to its keyframe."""


class MotionChain(ABC):
    """Joins the motion of consecutive frames; ``restart`` at each keyframe, ``advance`` at all others."""

    dtype: ClassVar[type[np.generic]]
    """Of positions."""

    def __init__(self) -> None:
        self._size = (0, 0)
        self._grid: npt.NDArray[Any] = np.empty((0, 0, 2), self.dtype)
        """Each pixel's own position; like all positions down to the end of the last row of blocks."""
        self._positions: deque[npt.NDArray[Any]] = deque(maxlen=REFERENCES)
        self._buffers: list[npt.NDArray[Any]] = []
        """One more than are kept, so that one is always free."""

    def restart(self, height: int, width: int) -> None:
        """Begin at a keyframe of ``height`` x ``width`` pixels."""
        if self._size != (height, width):
            self._size = height, width
            rows = -(-height // BLOCK) * BLOCK
            x, y = np.meshgrid(np.arange(width, dtype=self.dtype), np.arange(rows, dtype=self.dtype))
            self._grid = np.stack([x, y], axis=-1)
            self._buffers = [np.empty_like(self._grid) for _ in range(REFERENCES + 1)]
        self._positions.clear()
        self._positions.append(self._grid)

    def advance(self, blocks: BlockMotion, *, droppable: bool = False) -> Motion:
        """Take one more frame; returns its motion to the keyframe, a new array each time.

        A reference before the keyframe is taken for the keyframe. No later frame refers to a ``droppable`` one.

        Raises:
            SequenceError: before any ``restart``, or when the size is not that of the keyframe.
        """
        if not self._positions or (blocks.height, blocks.width) != self._size:
            raise SequenceError(
                f"motion of {blocks.width}x{blocks.height} pixels does not follow a keyframe of that size; "
                "restart the chain first"
            )
        known = [each[: blocks.height] for each in reversed(self._positions)]
        positions, motion = self._free(), np.empty((*self._size, 2), np.float32)
        self._join(blocks, known, positions, motion)
        if not droppable:
            self._positions.append(positions)
        return motion

    def _join(
        self, blocks: BlockMotion, known: list[npt.NDArray[Any]], positions: npt.NDArray[Any], motion: Motion
    ) -> None:
        """Write a frame's ``positions`` and ``motion``.

        Args:
            blocks: the frame's vectors.
            known: positions of the frames that it can refer to, the last one first, [H, W, 2].
            positions: down to the end of the last row of blocks.
            motion: [H, W, 2].
        """
        height, width = self._size
        steps, references = widened(self._steps(blocks.vectors), width), widened(blocks.reference, width)
        farthest = max(0, int(references.max(initial=0)))
        before, *older = [known[min(back, len(known) - 1)] for back in range(farthest + 1)]
        count = max(1, _BAND // (BLOCK * width))
        scratch = np.empty_like(self._grid[: count * BLOCK])
        for first in range(0, len(steps), count):
            rows, pixels = slice(first, first + count), slice(first * BLOCK, (first + count) * BLOCK)
            grid, found = self._grid[pixels], positions[pixels]
            places = scratch[: len(grid)]
            np.add(_by_blocks(grid), steps[rows, None], out=_by_blocks(places))
            self._look_up(before, places, found)
            for back, reference in enumerate(older, 1):
                other = np.empty_like(found)
                self._look_up(reference, places, other)
                np.copyto(_by_blocks(found), _by_blocks(other), where=references[rows, None, :, None] == back)
            # NumPy would first make both float32, and take twice as long.
            np.subtract(found, grid, out=places)
            motion[pixels] = places[: height - pixels.start]

    def adopt(self, motion: Motion, *, droppable: bool = False) -> None:
        """Take a frame whose motion was found elsewhere, [H, W, 2]; rounded where the chain is in whole pixels.

        No later frame refers to a ``droppable`` one.

        Raises:
            SequenceError: as ``advance``.
        """
        if not self._positions or motion.shape != (*self._size, 2):
            raise SequenceError("motion does not follow a keyframe of its size; restart the chain first")
        if droppable:
            return
        adopted = self._free()
        height = self._size[0]
        positions = self._grid[:height] + motion
        adopted[:height] = positions if self.dtype is np.float32 else np.rint(positions)
        self._positions.append(adopted)

    def _free(self) -> npt.NDArray[Any]:
        return next(each for each in self._buffers if not any(each is kept for kept in self._positions))

    @staticmethod
    @abstractmethod
    def _steps(vectors: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Displacements [rows, columns, 2] as this chain takes them, such that a position and one add up."""

    @staticmethod
    @abstractmethod
    def _look_up(positions: npt.NDArray[Any], places: npt.NDArray[Any], found: npt.NDArray[Any]) -> None:
        """Write to ``found`` [h, w, 2] the reference's positions at these places, clipped to the picture."""


def _by_blocks(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same with the rows of each block apart: [blocks, 8, width, 2]."""
    return pixels.reshape(-1, BLOCK, *pixels.shape[1:])
