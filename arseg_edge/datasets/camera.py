"""A simulated camera: a still becomes a short clip.

Where only stills are labelled, training still needs what a decoder gives: a keyframe some frames back, and
the motion vectors between. The camera drives through the still: parts that are near (low in the picture, or at
its sides) move more than those far away; it also turns, rolls and zooms; exposure drifts and every frame has noise
of its own. Things that move by themselves are added by ``passing.py``. The true motion is not recorded: an encoder
finds the motion, with all its errors, as on a device.

One frame is the still as it was taken. All others are interpolated from it, and look less like a photograph the further
they are away from it. If the still were always the last frame, every keyframe would look worse than its frame, and a
network would learn to trust keyframes less than it should; if it were always the first, more. The last frame's labels
are interpolated in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.datasets.sequence import IGNORED
from arseg_edge.errors import UsageError

Image = npt.NDArray[np.uint8]
_Field = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SimulatedClip:
    """A clip made of a still."""

    frames: list[Image]
    """uint8 [H, W, 3] RGB each, in display order."""
    origin: _Field
    """float32 [H, W, 2]: (x, y) in the still of what each pixel of the last frame shows."""

    def labels(self, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the last frame's labels, uint8 [H, W], from the still's; IGNORED where it shows none of the still."""
        height, width = labels.shape
        x, y = (np.rint(self.origin[..., axis]).astype(np.intp) for axis in (0, 1))
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        found = labels[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
        return np.where(inside, found, np.uint8(IGNORED))


def simulate_clip(image: Image, length: int, rng: np.random.Generator, still_at: int | None = None) -> SimulatedClip:
    """Return a clip of ``length`` frames, of which the one at index ``still_at`` is ``image`` itself.

    Args:
        image: uint8 [H, W, 3] RGB.
        length: 1 or more.
        rng: draws how the camera moves.
        still_at: 0 to ``length`` − 1; None is the last.

    Raises:
        UsageError: a length below 1, or an index that is not in the clip.

    >>> still = np.full((48, 64, 3), 90, np.uint8)
    >>> clip = simulate_clip(still, length=12, rng=np.random.default_rng(0))
    >>> len(clip.frames), clip.frames[-1] is still, clip.origin.shape
    (12, True, (48, 64, 2))
    """
    if length < 1:
        raise UsageError(f"a clip of {length} frames: ask for at least 1")
    at = length - 1 if still_at is None else still_at
    if not 0 <= at < length:
        raise UsageError(f"still at {at}: a clip of {length} frames has 0 to {length - 1}")
    height, width = image.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    velocity = _velocity(x, y, rng)
    # The speed changes over the clip by up to a third.
    acceleration = rng.uniform(-0.03, 0.03)
    gain, noise = rng.normal(0, 0.004), rng.uniform(0, 2.5)
    frames, here = [], np.stack([x, y], axis=-1)
    for before in range(at, at - length, -1):
        travelled = np.float32(before * (1 + acceleration * before))
        # That many frames before the still a pixel showed what has moved on since.
        origin = here + travelled * velocity
        if before == 0:
            frames.append(image)
            continue
        across, down = origin[..., 0], origin[..., 1]
        moved = cv2.remap(image, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        grain = rng.standard_normal(image.shape[:2], np.float32)[..., None] * noise
        exposed = moved * np.float32(np.exp(gain * before)) + grain
        frames.append(np.clip(exposed + 0.5, 0, 255).astype(np.uint8))
    return SimulatedClip(frames, origin)


def _velocity(x: _Field, y: _Field, rng: np.random.Generator) -> _Field:
    """Where in the still a pixel of the frame before looks: pixels a frame, float32 [H, W, 2]."""
    height, width = x.shape
    nearness = _nearness(x, y, rng)
    # The focus of expansion is near the middle of the horizon.
    from_x = x - width * rng.uniform(0.35, 0.65)
    from_y = y - height * rng.uniform(0.35, 0.55)
    forward = rng.uniform(0, 0.05) * nearness + rng.uniform(-0.002, 0.005)
    # Turning moves everything alike; stepping aside moves what is near.
    turn = rng.normal(0, 0.004 * width) + rng.normal(0, 0.006 * width) * nearness
    tilt = rng.normal(0, 0.001 * height) + rng.normal(0, 0.002 * height) * nearness
    roll = rng.normal(0, 0.001)
    velocity = np.stack([forward * from_x + turn - roll * from_y, forward * from_y + tilt + roll * from_x], axis=-1)
    return np.asarray(velocity, np.float32)


def _nearness(x: _Field, y: _Field, rng: np.random.Generator) -> _Field:
    """From 0 (far) to 1: a street's floor and sides, with bumps."""
    height, width = x.shape
    floor = (y / height - rng.uniform(0.4, 0.55)) / 0.5
    sides = np.abs(x / width - 0.5) * rng.uniform(0.4, 1.4)
    coarse = rng.normal(0, 0.05, (5, 6)).astype(np.float32)
    bumps = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    near = np.clip(np.maximum(floor, sides) + bumps, 0, 1).astype(np.float32)
    # Without creases, which would bend what crosses them.
    return np.asarray(cv2.GaussianBlur(near, (0, 0), 0.04 * width), np.float32)
