"""From frames to their anchors: where the content of a frame lies in a frame that a network saw, before or behind it.

Steps (``step.py``) lead from each frame to the one before. Towards an anchor in the past they are composed as they
come. Towards one in the future each is inverted first, and they are composed from the anchor back: the vectors that a
video carries serve both ways. How far an anchor's brightness differs at the place found says how much of the frame it
no longer shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.runtime.motion.agreement import Positions, disagreement, exposed_like, look_up, pixel_grid
from arseg_edge.runtime.motion.luma import Luma
from arseg_edge.runtime.motion.native import followed, mean_difference
from arseg_edge.runtime.motion.step import SIDE, Step

UNSHOWN: Final = 12
"""Grey levels: a block whose surroundings differ by more from the anchor's is not shown by it."""

_INVERSE_STEPS: Final = 2
"""Of the fixed point that inverts a step; the motion of neighbours is alike, so that it contracts fast."""


@dataclass(frozen=True, eq=False)
class Reach:
    """How a frame lies in one anchor, on the grid of blocks."""

    motion: npt.NDArray[np.float32]
    """float32 [rows, columns, 2], (dx, dy) in blocks, from the frame to the anchor."""
    difference: npt.NDArray[np.uint8]
    """uint8 [rows, columns], grey levels between the frame and what the anchor shows there."""
    distance: int
    """Frames between the two."""

    @property
    def unshown(self) -> npt.NDArray[np.bool_]:
        """[rows, columns]: the anchor does not show what the frame shows."""
        return np.asarray(self.difference > UNSHOWN)


class PastAnchor:
    """Follows frames back to one anchor, in display order."""

    def __init__(self, anchor: Luma) -> None:
        self._anchor = anchor
        self._positions = pixel_grid(*anchor.shape)
        self._distance = 0

    def follow(self, step: Step) -> Reach:
        """Take the next frame; its step must have a displacement, on the anchor's grid."""
        assert step.displacement is not None
        self._distance += 1
        self._positions, reach = _followed(
            step.luma, self._anchor, self._positions, step.displacement, self._distance, inverse=False
        )
        return reach


def from_future(steps: Sequence[Step]) -> list[Reach]:
    """Follow frames to an anchor behind them.

    Args:
        steps: of the frames in display order, and last the anchor's own; each with a displacement, except the first,
            whose own step does not matter.

    Returns:
        one for each frame, the anchor left out.
    """
    *frames, anchor = steps
    positions = pixel_grid(*anchor.luma.shape)
    found = []
    for distance, (frame, after) in enumerate(zip(reversed(frames), reversed(steps), strict=False), 1):
        assert after.displacement is not None
        positions, reach = _followed(frame.luma, anchor.luma, positions, after.displacement, distance, inverse=True)
        found.append(reach)
    return found[::-1]


def inverted(displacement: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the displacement back: of ``d``, the ``e`` with e(x) = −d(x + e(x)), by a fixed point.

    Where several places led to one, or none did, it is that of a place near by.
    """
    grid = pixel_grid(*displacement.shape[:2])
    back = -displacement
    for _ in range(_INVERSE_STEPS):
        back = -look_up(displacement, grid + back, cv2.INTER_LINEAR)
    return back


def _followed(
    luma: Luma,
    anchor: Luma,
    known: Positions,
    displacement: npt.NDArray[np.float32],
    distance: int,
    *,
    inverse: bool,
) -> tuple[Positions, Reach]:
    """Return a frame's positions in the anchor, and how it lies there.

    Args:
        luma: the frame's.
        anchor: the anchor's.
        known: positions in the anchor of the frame that ``displacement`` leads to, or from if it is to be inverted.
        displacement: in blocks.
        distance: frames to the anchor.
        inverse: whether it is.
    """
    found = followed(known, displacement, anchor, inverse=_INVERSE_STEPS if inverse else 0)
    if found is None:
        grid = pixel_grid(*anchor.shape)
        step = inverted(displacement) if inverse else displacement
        positions = _inside(look_up(known, grid + step, cv2.INTER_LINEAR))
        shown = np.asarray(look_up(anchor, positions, cv2.INTER_LINEAR), np.uint8)
        found = positions, np.asarray(positions - grid, np.float32), shown
    positions, motion, shown = found
    exposed = exposed_like(luma, shown)
    difference = mean_difference(exposed, shown)
    if difference is None:
        difference = disagreement(exposed, shown, None, SIDE)
    return positions, Reach(motion, difference, distance)


def _inside(positions: npt.NDArray[np.float32]) -> Positions:
    rows, columns = positions.shape[:2]
    return np.clip(positions, 0, np.array([columns - 1, rows - 1], np.float32))
