"""Drawn scenes whose motion is known, as arrays and as data sets on disk.

A scene is a smooth function of the plane. What stands at a place p of the frame stood at M·(p, 1) in the keyframe,
for a 2×3 matrix M, so that the motion is M·(p, 1) − p.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]


def pixels(size: tuple[int, int]) -> Points:
    """Return the places of the pixels of a picture of ``size`` (H, W), [H, W, 2], as (x, y)."""
    return np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), axis=-1).astype(float)


def moved(points: Points, matrix: npt.NDArray[np.float64]) -> Points:
    """Return where what stands at the points stood in the keyframe."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def colours(points: Points, seed: int = 0) -> Points:
    """Return what stands at the points, RGB [..., 3], 0 to 255: waves of some ten pixels."""
    random = np.random.default_rng(seed)
    total = np.full((*points.shape[:-1], 3), 128.0)
    for _ in range(6):
        wave, phase, colour = random.normal(0, 0.12, 2), random.uniform(0, 2 * np.pi), random.normal(0, 24, 3)
        total += np.sin(points @ wave + phase)[..., None] * colour
    return np.clip(total, 0, 255)


def discs(points: Points, seed: int = 0) -> npt.NDArray[np.bool_]:
    """Return where discs stand, on a grid."""
    cell = 40 + 8 * np.random.default_rng(seed).random()
    return np.hypot(*np.moveaxis(points % cell - cell / 2, -1, 0)) < cell / 4


def picture(points: Points, seed: int = 0) -> Picture:
    """Draw what stands at the points; the discs are darker."""
    shade = np.where(discs(points, seed), 0.4, 1.0)[..., None]
    return np.round(shade * colours(points, seed)).astype(np.uint8)


def look_up(image: npt.NDArray[np.float64], points: Points) -> npt.NDArray[np.float64]:
    """Return an image [H, W, …] at points [..., 2] between its pixels, bilinear; the border repeats."""
    height, width = image.shape[:2]
    x, y = (np.clip(points[..., axis], 0, length - 1) for axis, length in ((0, width), (1, height)))
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = image[top, left] * (1 - across) + image[top, left + 1] * across
    lower = image[top + 1, left] * (1 - across) + image[top + 1, left + 1] * across
    return upper * (1 - down) + lower * down


def write(path: Path, image: Picture) -> None:
    """Write a PNG, grey or RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1]))


def write_dataset(
    folder: Path,
    *,
    clips: int = 3,
    frames: int = 5,
    size: tuple[int, int] = (64, 96),
    speed: tuple[float, float] = (3.0, 0.5),
    classes: str = "{ground: [10, 20, 30], disc: [200, 100, 0]}",
) -> Path:
    """Write a data set of the plain layout: clips of a moving camera, the last two frames labelled.

    With one frame they are stills.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.yaml").write_text(f"classes: {classes}\n")
    for clip in range(clips):
        for index in range(frames):
            places = pixels(size) + np.array(speed) * index
            name = f"clip{clip}" if frames == 1 else f"clip{clip}/{index:03d}"
            write(folder / "clips" / f"{name}.png", picture(places, clip))
            if index >= frames - 2:
                write(folder / "labels" / f"{name}.png", discs(places, clip).astype(np.uint8))
    return folder
