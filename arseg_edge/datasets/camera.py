"""A simulated camera: a still becomes a short clip that ends with it.

Where only stills are labelled, training still needs what a decoder gives: a keyframe some frames back, and
the motion vectors between. The camera drives into the still: parts that are near (low in the picture, or at
its sides) move more than those far away; it also turns, rolls and zooms; a few regions move on their own;
exposure drifts and every frame has noise of its own. Nothing here knows the true motion: it is to be found
by an encoder, with all its errors, as on a device.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.errors import UsageError

Image = npt.NDArray[np.uint8]
_Field = npt.NDArray[np.float32]


def simulate_clip(image: Image, length: int, rng: np.random.Generator) -> list[Image]:
    """Return ``length`` frames, uint8 [H, W, 3] RGB, whose last one is ``image`` itself.

    >>> still = np.full((48, 64, 3), 90, np.uint8)
    >>> clip = simulate_clip(still, length=12, rng=np.random.default_rng(0))
    >>> len(clip), clip[0].shape, bool((clip[-1] == still).all())
    (12, (48, 64, 3), True)

    Raises ``UsageError`` for a length below 1.
    """
    if length < 1:
        raise UsageError(f"a clip of {length} frames: ask for at least 1")
    height, width = image.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    velocity = _velocity(x, y, rng)
    # The speed changes over the clip by up to a third.
    acceleration = rng.uniform(-0.03, 0.03)
    gain, noise = rng.normal(0, 0.004), rng.uniform(0, 2.5)
    frames = []
    for back in range(length - 1, 0, -1):
        travelled = np.float32(back * (1 + acceleration * back))
        # ``back`` frames ago a pixel showed what has moved on since.
        moved = cv2.remap(
            image, x + travelled * velocity[..., 0], y + travelled * velocity[..., 1],
            cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101,
        )  # fmt: skip
        grain = rng.standard_normal(image.shape[:2], np.float32)[..., None] * noise
        exposed = moved * np.float32(np.exp(gain * back)) + grain
        frames.append(np.clip(exposed + 0.5, 0, 255).astype(np.uint8))
    return [*frames, image]


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
    for _ in range(rng.integers(0, 5)):
        inside = _ellipse(x, y, rng)[..., None]
        own = rng.normal(0, 0.006 * width, 2) * (1, 0.2)
        velocity = velocity * (1 - inside) + (velocity.mean((0, 1)) + own) * inside
    return velocity.astype(np.float32)


def _nearness(x: _Field, y: _Field, rng: np.random.Generator) -> _Field:
    """From 0 (far) to 1: a street's floor and sides, with bumps."""
    height, width = x.shape
    floor = (y / height - rng.uniform(0.4, 0.55)) / 0.5
    sides = np.abs(x / width - 0.5) * rng.uniform(0.4, 1.4)
    coarse = rng.normal(0, 0.15, (5, 6)).astype(np.float32)
    bumps = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(np.maximum(floor, sides) + bumps, 0, 1), np.float32)


def _ellipse(x: _Field, y: _Field, rng: np.random.Generator) -> _Field:
    """One inside, 0 outside, with an edge about two pixels wide."""
    height, width = x.shape
    centre = rng.uniform(0, 1, 2) * (width, height)
    axes = rng.uniform(0.03, 0.15, 2) * (width, height)
    radius = np.hypot((x - centre[0]) / axes[0], (y - centre[1]) / axes[1])
    return np.asarray(np.clip((1 - radius) * axes.min() / 2, 0, 1), np.float32)
