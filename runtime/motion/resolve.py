"""Motion from vectors that do not say which frame they point to, resolved by what the pixels show.

A record names the reference list only. With B-frames or several references the frame behind it can be any of a
few (``source/reference_order.py``), and so each way to read a vector is a guess, which pixels decide:

- list 0 (the past): it points to the frame before, or content moves evenly and a third of it leads there;
- list 0, where no frame is predicted from a later one: it points to one of the last few references;
- list 1 (the future): content moves evenly, and the vector or half of it leads backwards to the frame before;
- list 0, where it surely points to a frame before the keyframe: content moves evenly, and the part of it that lies
  behind the keyframe is left out;
- no vector at all: the motion goes on as it did (``tracker``).

Frames are taken in display order: a later frame's place in the keyframe is not needed, and any frame can be a
keyframe. Whether a guess is right is seen in the keyframe itself, so a wrong one cannot smear on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.runtime.motion.agreement import Positions, look_up

# Parts of a vector, chosen on warp PSNR: further ones, and frames further back, gain less than 0.15 dB.
_PAST_PARTS: Final = (1.0, 1 / 3)
_FUTURE_PARTS: Final = (1.0, 1 / 2)


def guesses(
    grid: Positions,
    known: Sequence[Positions],
    past: npt.NDArray[np.float32] | None,
    future: npt.NDArray[np.float32] | None,
    part: float | None = None,
) -> Iterator[Positions]:
    """Where the content of a frame may lie in the keyframe.

    Args:
        grid: each pixel's own position, [h, w, 2].
        known: positions of the frame before, [h, w, 2], and of others that list 0 may point to.
        past: the vectors of list 0, in pixels of the grid, [h, w, 2]; None where no block has one.
        future: the same of list 1.
        part: where list 0 surely points to a frame before the keyframe, the part of the way that leads to the keyframe.
    """
    if past is not None and part is not None:
        yield np.asarray(cv2.scaleAdd(past, part, grid), np.float32)
        return
    for other in known[1:]:
        if past is not None:
            yield look_up(other, cv2.add(past, grid), cv2.INTER_LINEAR)
    for vectors, parts, sign in ((past, _PAST_PARTS, 1), (future, _FUTURE_PARTS, -1)):
        if vectors is not None:
            for part in parts:
                yield look_up(known[0], cv2.scaleAdd(vectors, sign * part, grid), cv2.INTER_LINEAR)
