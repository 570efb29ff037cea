"""The inputs that an export checks itself on: noise, and a drawn scene that moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arseg_edge.golden import QUARTER


@dataclass(frozen=True)
class ParityClip:
    """``frames`` uint8 [T, H, W, 3] and ``motion`` float32 [T, a, b, 2], in cells of its grid, to the first frame."""

    name: str
    frames: NDArray[np.uint8]
    motion: NDArray[np.float32]
    labels_size: tuple[int, int] | None = None
    """Height and width of the labels that are asked for; None for the frames' own."""


def random_clip(height: int, width: int, frames: int = 2) -> ParityClip:
    """Return noise, with block motion of up to 16 pixels in quarter pixels."""
    rng = np.random.default_rng([height, width])
    pictures = rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    blocks = rng.integers(-64, 65, (frames, -(-height // 8), -(-width // 8), 2))
    motion = blocks.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width].astype(np.float32) * QUARTER
    return ParityClip("random", pictures, motion)


def structured_clip(height: int, width: int, frames: int = 3) -> ParityClip:
    """Return a scene of flat and shaded areas, seen by a camera that moves, and a box that moves itself."""
    pictures, motions = [], []
    for index in range(frames):
        y, x = np.mgrid[:height, :width].astype(np.float32)
        camera = np.float32(2.75 * index), np.float32(-1.25 * index)
        box = np.float32(-4.5 * index), np.float32(0.5 * index)
        pictures.append(_scene(x + camera[0], y + camera[1], x + box[0], y + box[1], height, width))
        inside = _box(x + box[0], y + box[1], height, width)[..., None]
        motions.append(np.where(inside, np.array(box), np.array(camera)))
    return ParityClip("structured", np.stack(pictures), np.stack(motions).astype(np.float32))


def resized_clip(height: int, width: int, frames: int = 2) -> ParityClip:
    """Return the same scene with motion on a grid of other proportions, and labels of another size."""
    scene = structured_clip(height, width, frames)
    rows, columns = -(-height // 8), -(-width // 5)
    cells = scene.motion[:, ::8, ::5] * np.array([columns / width, rows / height], np.float32)
    return ParityClip("resized", scene.frames, cells, other_size(height, width))


def other_size(height: int, width: int) -> tuple[int, int]:
    """Return a size that no network works at: larger, odd, and of other proportions."""
    return height + height // 2 + 1 | 1, 2 * width - 1


Plane = NDArray[np.float32]


def _scene(x: Plane, y: Plane, box_x: Plane, box_y: Plane, height: int, width: int) -> NDArray[np.uint8]:
    """Draw the scene at world coordinates: sky, a road that narrows, stripes of houses, and a box."""
    down, across = y / height, x / width
    sky = np.stack([90 + 120 * down, 140 + 80 * down, 230 - 20 * down], axis=-1)
    houses = 60 + 90 * ((np.floor(across * 9) * 37) % 5)[..., None] / 4 + np.zeros(3)
    windows = ((x % 16 < 6) & (y % 24 < 12))[..., None] * 40
    road = 80 + 25 * np.sin(x / 5 + y / 3)[..., None] + np.zeros(3)
    picture = np.where((down < 0.35)[..., None], sky, houses + windows)
    on_road = (down > 0.55) & (np.abs(across - 0.5) < 0.15 + 0.6 * (down - 0.55))
    picture = np.where(on_road[..., None], road, picture)
    picture = np.where(_box(box_x, box_y, height, width)[..., None], np.array([200.0, 40.0, 40.0]), picture)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _box(x: Plane, y: Plane, height: int, width: int) -> NDArray[np.bool_]:
    return (np.abs(x / width - 0.6) < 0.1) & (np.abs(y / height - 0.65) < 0.12)
