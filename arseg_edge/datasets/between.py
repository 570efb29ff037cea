"""The frames between two photographs of one drive, by optical flow.

A simulated camera moves what one still shows. Between two stills that were taken a second apart the world itself moved:
cars came, pavements passed behind poles, the light changed. The first and the last frame are the photographs as they
are, the last one with its labels. The frames between only lead an encoder's motion from one to the other. Where the
flow is wrong, it is wrong in ways in which an encoder's motion is wrong, too.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
_Field = npt.NDArray[np.float32]

_STEPS_TO_SOLVE = 8
"""Of the fixed point below: flow changes slowly from pixel to pixel, so each one divides the error by some factor."""


def frames_between(first: Image, last: Image, steps: int) -> list[Image]:
    """Return ``steps`` + 1 frames, uint8 [H, W, 3] RGB, from ``first`` to ``last`` (as large) and with them.

    What the last photograph shows at q, the first one shows at q + flow(q) (dense inverse search, Kroeger et al.,
    ECCV 2016). It moves evenly between the two, and its colour goes from the one's to the other's.

    >>> rng = np.random.default_rng(0)
    >>> street = cv2.GaussianBlur(rng.integers(0, 256, (96, 140, 3), np.uint8), (0, 0), 2)
    >>> here, later = street[:, :128].copy(), street[:, 12:].copy()
    >>> frames = frames_between(here, later, steps=3)
    >>> expected = street[:, 4:132]
    >>> len(frames), int(np.abs(frames[1].astype(int) - expected)[:, 16:-16].max()) < 12
    (4, True)
    """
    flow = _flow(last, first)
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    here: _Field = np.stack([x, y], axis=-1)
    frames = [first]
    for step in range(1, steps):
        share = np.float32(step / steps)
        # Of what is here at this time, q is where the last photograph shows it: q + (1 - share) flow(q) = here.
        later = here
        for _ in range(_STEPS_TO_SOLVE):
            later = here - (1 - share) * _look_up(flow, later, cv2.BORDER_REPLICATE)
        earlier = later + _look_up(flow, later, cv2.BORDER_REPLICATE)
        weight = share * _inside(later)[..., None]
        blended = (1 - weight) * _look_up(first, earlier) + weight * _look_up(last, later)
        frames.append(np.clip(blended + 0.5, 0, 255).astype(np.uint8))
    return [*frames, last]


def _flow(source: Image, target: Image) -> _Field:
    """Return float32 [H, W, 2]: pixels from each place in ``source`` to the same in ``target``."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    grey = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (source, target))
    return np.asarray(search.calc(*grey, None), np.float32)  # type: ignore[call-overload]


def _look_up(image: Image | _Field, at: _Field, border: int = cv2.BORDER_REFLECT_101) -> _Field:
    return np.asarray(cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=border), np.float32)


def _inside(at: _Field) -> _Field:
    """Return float32 [H, W], 1 in the picture and 0 outside, blurred."""
    height, width = at.shape[:2]
    inside = np.asarray(((at >= 0) & (at <= (width - 1, height - 1))).all(axis=-1), np.float32)
    return np.asarray(cv2.blur(inside, (9, 9)), np.float32)
