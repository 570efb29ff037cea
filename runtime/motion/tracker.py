"""Following frames back to their keyframe on the working picture, from vectors, pixels, or both.

Each frame's motion is put together from guesses, pixel by pixel the one that shows in the keyframe what the
frame shows (``agreement``):

1. the vectors, composed with what the last reference knew, where they point to it;
   resolved (``resolve``), where they point elsewhere;
   the motion of before, gone on evenly, where there are none;
2. optical flow to the keyframe (``flow``), searched from there;
3. no motion.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import cv2
import numpy as np

from arseg_edge.errors import SequenceError
from arseg_edge.runtime.motion.agreement import Choice, Positions, look_up, mismatch, pixel_grid, resized
from arseg_edge.runtime.motion.chain import Motion
from arseg_edge.runtime.motion.flow import Flow
from arseg_edge.runtime.motion.luma import Luma
from arseg_edge.runtime.motion.resolve import guesses
from arseg_edge.runtime.motion.vectors import INTRA, ListedVectors, PixelVectors

MotionGrid = tuple[int, int] | Literal["working"] | None
"""Rows and columns of motion: those of the working picture, which it is found on; None: those of the frame."""

_REFERENCES: Final = 4
"""How many frames back vectors are followed where they may point to any of several."""

_SIDE: Final = 5
"""Pixels of the working picture around a pixel by which guesses are compared."""
_SIDE_SMALL: Final = 3
"""The same at half its size."""


@dataclass(frozen=True, eq=False)
class Tracked:
    """A frame followed to its keyframe."""

    motion: Motion
    """[H, W, 2], (dx, dy) in pixels from the frame to its keyframe; on another grid in its cells."""
    mismatch: float
    """The share of pixels, 0 to 1, that show something else than the keyframe there."""


class _Known:
    """Where a frame lies in the keyframe; its two forms are made when first asked for."""

    def __init__(self, grid: Positions, *, motion: Motion | None = None, positions: Positions | None = None) -> None:
        """One of the two: ``motion`` of the whole frame, or ``positions`` for each pixel of the ``grid``."""
        self._grid, self._motion = grid, motion
        if positions is not None:
            self.positions = positions

    @cached_property
    def positions(self) -> Positions:
        """In the keyframe, for each pixel of the working picture."""
        return np.asarray(cv2.add(self._grid, self.moved), np.float32)

    @cached_property
    def moved(self) -> Positions:
        """The same as a displacement."""
        if self._motion is not None:
            return resized(self._motion, *self._grid.shape[:2])
        return np.asarray(cv2.subtract(self.positions, self._grid), np.float32)


class Tracker:
    """Follows frames to a keyframe; ``restart`` there, then ``follow`` each frame in display order."""

    def __init__(self, *, flow: bool = True, grid: MotionGrid = None) -> None:
        """With ``flow`` False nothing but vectors is used; ``grid``: rows and columns of the motion, if not H and W."""
        self._motion_grid = grid
        self._from_vectors = Flow(finest=2, stride=5, iterations=4) if flow else None
        self._from_nothing = Flow(finest=1, stride=6, iterations=4) if flow else None
        self._size = (0, 0)
        self._distance = 0
        self._grid = self._small_grid = np.empty((0, 0, 2), np.float32)
        self._before: _Known | None = None
        """Of the frame before."""
        self._references: deque[_Known] = deque(maxlen=_REFERENCES)
        """Of the last frames that others are predicted from, the last one first."""

    def restart(self, luma: Luma, height: int, width: int) -> None:
        """Begin at a keyframe of ``height`` x ``width`` pixels with this working picture."""
        if self._size != (height, width) or self._grid.shape[:2] != luma.shape:
            rows, columns = luma.shape
            small = (rows + 1) // 2, (columns + 1) // 2
            self._size = height, width
            self._grid, self._small_grid = pixel_grid(rows, columns), pixel_grid(*small)
            self._vectors = PixelVectors(self._size, (rows, columns))
            self._small_vectors = PixelVectors(self._size, small)
            self._limits = np.zeros_like(self._grid), np.full_like(self._grid, (columns - 1, rows - 1))
        self._distance = 0
        self._keyframe, self._small_keyframe = luma, _halved(luma)
        self._before = _Known(self._grid, positions=self._grid)
        self._references.clear()
        self._references.append(self._before)

    def follow(
        self,
        luma: Luma,
        vectors: ListedVectors | None,
        *,
        direct: bool = False,
        reordered: bool = True,
        part: float | None = None,
        droppable: bool = False,
    ) -> Tracked:
        """Take the next frame.

        Args:
            luma: its working picture.
            vectors: None where it has none.
            direct: they are read as pointing to the last frame that others are predicted from.
            reordered: where they are not, they may point to later frames, too.
            part: they surely point to a frame before the keyframe, which lies so far on the way.
            droppable: no later frame is predicted from it.

        Raises:
            SequenceError: before any ``restart``, or when the size is not that of the keyframe.
        """
        before = self._checked(luma)
        self._distance += 1
        if vectors is None:
            first, search = self._onward(before.moved, self._grid), self._from_nothing
        elif direct:
            places = cv2.add(self._grid, self._vectors.spread(vectors.past))
            first = look_up(self._references[0].positions, places, cv2.INTER_LINEAR)
            search = self._from_vectors
        else:
            known = [before, *(each for each in self._references if each is not before and not reordered)]
            first, search = self._resolved(luma, known, vectors, part), self._from_vectors
        choice = Choice(luma, self._keyframe, first, _SIDE)
        if search is not None:
            choice.offer(search.find(choice.luma, self._keyframe, self._grid, first))
        choice.offer(self._grid, still=True)
        positions = choice.positions
        cv2.max(positions, self._limits[0], positions)
        cv2.min(positions, self._limits[1], positions)
        self._take(found := _Known(self._grid, positions=positions), droppable=droppable)
        moved = found.moved
        if self._motion_grid != "working":
            moved = resized(moved, *(self._motion_grid or self._size))
        return Tracked(moved, mismatch(choice.difference))

    def _take(self, known: _Known, *, droppable: bool) -> None:
        self._before = known
        if not droppable:
            self._references.appendleft(known)

    def adopt(self, luma: Luma, motion: Motion, *, droppable: bool = False) -> float:
        """Take a frame whose motion was found elsewhere; returns the share of its pixels that do not match.

        Raises:
            SequenceError: as ``follow``.
        """
        self._checked(luma)
        self._distance += 1
        self._take(_Known(self._grid, motion=motion), droppable=droppable)
        small = resized(motion, *self._small_grid.shape[:2])
        positions = np.asarray(cv2.add(self._small_grid, small), np.float32)
        return mismatch(Choice(_halved(luma), self._small_keyframe, positions, _SIDE_SMALL).difference)

    def _checked(self, luma: Luma) -> _Known:
        if self._before is None or luma.shape != self._grid.shape[:2]:
            rows, columns = luma.shape
            raise SequenceError(
                f"a working picture of {columns}x{rows} pixels does not follow a keyframe of that size; "
                "restart the tracker first"
            )
        return self._before

    def _resolved(self, luma: Luma, known: list[_Known], vectors: ListedVectors, part: float | None) -> Positions:
        past, future = (
            self._small_vectors.spread(blocks) if (blocks.reference != INTRA).any() else None
            for blocks in (vectors.past, vectors.future)
        )
        grid = self._small_grid
        moved = [resized(each.moved, *grid.shape[:2]) for each in known]
        choice = Choice(_halved(luma), self._small_keyframe, self._onward(moved[0], grid), _SIDE_SMALL)
        positions = [np.asarray(cv2.add(grid, each), np.float32) for each in moved]
        for guess in guesses(grid, positions, past, future, part):
            choice.offer(guess)
        found = np.asarray(cv2.subtract(choice.positions, grid), np.float32)
        return np.asarray(cv2.add(self._grid, resized(found, *luma.shape)), np.float32)

    def _onward(self, moved: Positions, grid: Positions) -> Positions:
        """Where the content would lie if every pixel of the frame before moved on evenly."""
        return np.asarray(cv2.scaleAdd(moved, self._distance / max(1, self._distance - 1), grid), np.float32)


def _halved(luma: Luma) -> Luma:
    rows, columns = luma.shape
    return np.asarray(cv2.resize(luma, ((columns + 1) // 2, (rows + 1) // 2), interpolation=cv2.INTER_AREA), np.uint8)
