"""Motion from vectors that do not say which frame they point to, resolved by what the pixels show.

A record names the reference list only. With B-frames or several references the frame behind it can be any of
a few, and so each way to read a vector is a guess, which pixels decide:

- list 0 (the past): it points to one of the last frames shown; what that frame knew is inherited.
- list 0 and list 1 (the future): the content moves evenly, and a part of the vector leads to the frame before.
- no vector at all: the motion goes on as it did, or there is none.

Frames are taken in display order: a later frame's place in the keyframe is not needed, and a keyframe can be
any frame. Whether a guess is right is seen in the keyframe itself, so a wrong one cannot smear on. Works at
half the size of the working picture, where a block of 8x8 pixels is 2x2 at 960x720.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.runtime.motion.agreement import Positions, look_up

REFERENCES: Final = 2
"""How many frames back a guess looks."""

# Chosen on warp PSNR: more guesses (two or three frames further back, other parts) gain less than 0.1 dB.
_PAST_PARTS: Final = (1 / 3,)
_FUTURE_PARTS: Final = (1.0, 1 / 2)
"""Parts of a vector that lead to the frame before, where content moves evenly."""


def guesses(
    grid: Positions,
    known: Iterable[Positions],
    past: npt.NDArray[np.float32] | None,
    future: npt.NDArray[np.float32] | None,
) -> Iterator[Positions]:
    """Where the content of a frame may lie in the keyframe.

    Args:
        grid: each pixel's own position, [h, w, 2].
        known: positions of the frames before, the latest first; one at least, ``REFERENCES`` at most.
        past: the vectors of list 0, in pixels of the grid, [h, w, 2]; None where no block has one.
        future: the same of list 1.
    """
    recent = list(known)
    if past is not None:
        places = cv2.add(grid, past)
        for positions in recent:
            yield look_up(positions, places, cv2.INTER_LINEAR)
        for part in _PAST_PARTS:
            yield look_up(recent[0], cv2.scaleAdd(past, part, grid), cv2.INTER_LINEAR)
    if future is not None:
        for part in _FUTURE_PARTS:
            yield look_up(recent[0], cv2.scaleAdd(future, -part, grid), cv2.INTER_LINEAR)
