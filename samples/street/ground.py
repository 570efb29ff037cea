"""Road, pavement and sky."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from street.canvas import Array, Canvas
from street.classes import PAVEMENT, ROAD

ROAD_EDGE = 4.6  # half the road's width


def smooth_noise(rng: np.random.Generator, side: int = 256, grain: float = 1.5) -> npt.NDArray[np.float32]:
    """Return a tile [side, side] of noise from about -1 to 1 that repeats without a seam."""
    border = 16
    rough = np.pad(rng.uniform(-1, 1, (side, side)), border, mode="wrap")
    tile = np.asarray(cv2.GaussianBlur(rough, (0, 0), grain), np.float32)[border:-border, border:-border]
    return np.asarray(tile / np.abs(tile).max(), np.float32)


def _look_up(tile: npt.NDArray[np.float32], x: Array, y: Array) -> Array:
    side = len(tile)
    return np.asarray(
        cv2.remap(
            tile,
            np.mod(x, side).astype(np.float32),
            np.mod(y, side).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        ),
        np.float64,
    )


@dataclass(frozen=True)
class Ground:
    """Road, marks and pavement."""

    road: Array
    pavement: Array
    noise: npt.NDArray[np.float32]
    crossing: float  # z of the zebra crossing

    def draw(self, canvas: Canvas) -> None:
        """Draw everything below the horizon."""
        first = max(0, math.ceil(canvas.horizon + 1))
        v, u = np.mgrid[first : canvas.height, 0 : canvas.width].astype(np.float64)
        depth = canvas.focal * canvas.eye[1] / (v - canvas.horizon)
        side = (u - canvas.width / 2) * depth / canvas.focal
        x = canvas.eye[0] + side * canvas.cos + depth * canvas.sin
        z = canvas.eye[2] - side * canvas.sin + depth * canvas.cos

        # Detail fades out where a pixel covers more of the ground than the detail is long.
        reach = depth**2 / (canvas.focal * canvas.eye[1])
        fine = _look_up(self.noise, x * 40, z * 40) * np.clip(1.3 - reach / 0.06, 0, 1)
        middle = _look_up(self.noise, x * 9, z * 9) * np.clip(1.3 - reach / 0.3, 0, 1)
        coarse = _look_up(self.noise, x * 1.7, z * 1.7)
        grain = (26 * fine + 20 * middle + 14 * coarse)[..., np.newaxis]

        on_road = np.abs(x) < ROAD_EDGE
        colour = np.where(on_road[..., np.newaxis], self.road, self.pavement) + grain
        joints = ((np.mod(x, 0.9) < 0.05) | (np.mod(z, 0.9) < 0.05)) & ~on_road
        colour[joints] -= 40 * np.clip(1.2 - reach[joints] / 0.25, 0, 1)[:, np.newaxis]
        kerb = np.abs(np.abs(x) - ROAD_EDGE - 0.1) < 0.1
        colour[kerb] += 28
        edge_lines = np.abs(np.abs(x) - ROAD_EDGE + 0.35) < 0.06
        dashes = (np.abs(x) < 0.08) & (np.mod(z, 6) < 3)
        stripes = (np.abs(z - self.crossing) < 1.5) & (np.mod(x, 1.2) < 0.6) & on_road
        white, yellow = (225, 225, 220), (190, 170, 60)
        for marks, paint in ((edge_lines, yellow), (dashes, white), (stripes, white)):
            colour[marks] = 0.8 * np.array(paint) + 0.5 * grain[marks]

        clear = np.exp(-depth / canvas.light.sight)[..., np.newaxis]
        seen = colour * canvas.light.gain * clear + canvas.light.sky * (1 - clear)
        canvas.rgb[first:] = np.clip(seen, 0, 255)
        canvas.labels[first:] = np.where(on_road, ROAD, PAVEMENT)


def draw_sky(canvas: Canvas, noise: npt.NDArray[np.float32]) -> None:
    """Fill the canvas with sky and clouds, which are too far away to grow."""
    v, u = np.mgrid[0 : canvas.height, 0 : canvas.width].astype(np.float64)
    right = (u - canvas.width / 2) / canvas.focal + canvas.yaw
    up = np.maximum((canvas.horizon - v) / canvas.focal, 0)
    clouds = _look_up(noise, right * 60 + 90, up * 150) + 0.5 * _look_up(noise, right * 160, up * 400)
    cover = np.clip(0.25 + 1.2 * clouds, 0, 1)[..., np.newaxis] * 0.6
    rise = np.clip(up * 2.2, 0, 1)[..., np.newaxis]
    blue = canvas.light.sky * (1 - rise) + canvas.light.zenith * rise
    canvas.rgb[:] = np.clip(blue * (1 - cover) + 245 * canvas.light.gain * cover, 0, 255)
