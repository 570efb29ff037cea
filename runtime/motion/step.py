"""How a frame is tied to the one shown before it, on the grid of 8x8 blocks: what chains to any anchor are made of.

A feature, and the logits made of it, have about one cell for each block, and labels that are moved along come from
logits. So this is all that moving them needs, at a hundredth of what one vector for each pixel costs. Where a vector
surely points to the frame before it is taken as it is; where it may point elsewhere, or there is none, the brightness
of the blocks decides among guesses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.runtime.motion.agreement import Choice, pixel_grid
from arseg_edge.runtime.motion.flow import Flow
from arseg_edge.runtime.motion.luma import SMALLEST, Luma, luma_plane
from arseg_edge.runtime.motion.native import mean_blocks
from arseg_edge.runtime.motion.vectors import BLOCK, INTRA, ListedVectors

SIDE: Final = 3
"""Blocks around a block by which two places are compared."""

_FLOW_FACTOR: Final = 4
"""Where there are no vectors, optical flow looks at a picture this much smaller than the frame."""

# Parts of a vector of list 0 and of list 1, as for whole pixels (``resolve``).
_PAST_PARTS: Final = (1.0, 1 / 2, 1 / 3)
_FUTURE_PARTS: Final = (-1.0, -1 / 2)


@dataclass(frozen=True, eq=False)
class Step:
    """A frame's blocks, and where each was in the frame before."""

    luma: Luma
    """uint8 [rows, columns], the mean of each block."""
    displacement: npt.NDArray[np.float32] | None
    """float32 [rows, columns, 2], (dx, dy) in blocks, from the frame to the one before; None where there is none."""


def blocks_of(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the grid; the blocks on the right and lower edge may reach beyond the picture."""
    return -(-height // BLOCK), -(-width // BLOCK)


def block_luma(plane: Luma) -> Luma:
    """The mean of each 8x8 block of a grey picture [H, W]; at the right and lower edge its border repeats."""
    height, width = plane.shape
    rows, columns = blocks_of(height, width)
    if (found := mean_blocks(plane, (rows, columns))) is not None:
        return found
    if (below := rows * BLOCK - height) or columns * BLOCK - width:
        border = cv2.copyMakeBorder(plane, 0, below, 0, columns * BLOCK - width, cv2.BORDER_REPLICATE)
        plane = np.asarray(border, np.uint8)
    return np.asarray(cv2.resize(plane, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


class Stepper:
    """Takes frames in display order and ties each to the one before; one for each stream."""

    def __init__(self) -> None:
        self._flow = Flow(finest=0, stride=6, iterations=4)
        self._before: Step | None = None
        self._plane: Luma | None = None
        """Brightness of the frame before, for optical flow."""

    def step(self, picture: Any, vectors: ListedVectors | None, *, reference: int | None) -> Step:
        """Tie the next frame.

        Args:
            picture: as decoded, or RGB uint8 [H, W, 3].
            vectors: the codec's; None where it gave none, and for optical flow to be used instead.
            reference: how many frames back the one lies that the vectors of list 0 surely point to; None if not sure.
        """
        plane = luma_plane(picture)
        luma = block_luma(plane)
        before, plane_before = self._before, self._plane
        displacement = None
        if before is not None and plane_before is not None and plane_before.shape == plane.shape:
            if vectors is None:
                displacement = self._flowed(plane, plane_before, luma.shape)
            elif reference == 1:
                displacement = vectors.past.vectors / np.float32(BLOCK)
            else:
                displacement = self._chosen(luma, before, list(_guesses(vectors, reference)))
        self._before, self._plane = Step(luma, displacement), plane
        return self._before

    def _chosen(self, luma: Luma, before: Step, guesses: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        grid = pixel_grid(*luma.shape)
        onward = np.zeros((*luma.shape, 2), np.float32) if before.displacement is None else before.displacement
        first, *others = [*guesses, onward]
        choice = Choice(luma, before.luma, np.asarray(cv2.add(grid, first), np.float32), SIDE)
        for guess in others:
            choice.offer(np.asarray(cv2.add(grid, guess), np.float32))
        choice.offer(grid, still=True)
        return np.asarray(cv2.subtract(choice.positions, grid), np.float32)

    def _flowed(self, plane: Luma, before: Luma, blocks: tuple[int, int]) -> npt.NDArray[np.float32]:
        small, small_before = _small(plane), _small(before)
        grid = pixel_grid(*small.shape)
        found = np.asarray(cv2.subtract(self._flow.find(small, small_before, grid, grid), grid), np.float32)
        factors: Any = (blocks[1] / small.shape[1], blocks[0] / small.shape[0], 0, 0)
        means = cv2.resize(found, blocks[::-1], interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.multiply(means, factors), np.float32)


def _small(plane: Luma) -> Luma:
    """The picture that optical flow looks at."""
    height, width = (max(SMALLEST, round(side / _FLOW_FACTOR)) for side in plane.shape)
    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _guesses(vectors: ListedVectors, reference: int | None) -> Iterator[npt.NDArray[np.float32]]:
    past_parts = _PAST_PARTS if reference is None else (1 / reference,)
    for blocks, parts in ((vectors.past, past_parts), (vectors.future, _FUTURE_PARTS)):
        if (blocks.reference != INTRA).any():
            for part in parts:
                yield blocks.vectors * np.float32(part / BLOCK)
