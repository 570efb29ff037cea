"""A pinhole camera that draws polygons, rods, balls and walls, and labels what it draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from street.classes import SKY

Image: TypeAlias = npt.NDArray[np.uint8]
Array: TypeAlias = npt.NDArray[np.float64]
Colour: TypeAlias = Sequence[float] | npt.NDArray[np.number]
Point: TypeAlias = tuple[float, float, float]

NEAR = 1.0  # metres; nothing closer to the camera's plane is drawn


@dataclass(frozen=True)
class Light:
    """The weather of one street."""

    sun: Array  # unit vector towards it
    sky: Array  # colour at the horizon; the haze has it too
    zenith: Array
    gain: Array  # of each colour channel
    sight: float  # metres at which haze has taken 63 % of the contrast


class Texture:
    """A picture on a wall, with reduced copies, each axis by itself, against flicker in the distance."""

    def __init__(self, image: Image) -> None:
        self._reduced: dict[tuple[int, int], Image] = {(0, 0): image}

    def for_size(self, width: float, height: float) -> Image:
        """Return the smallest copy that is at least as large as ``width`` by ``height`` pixels."""
        full = self._reduced[0, 0]
        level = (_level(full.shape[1], width), _level(full.shape[0], height))
        if level not in self._reduced:
            size = (max(1, full.shape[1] >> level[0]), max(1, full.shape[0] >> level[1]))
            self._reduced[level] = np.asarray(cv2.resize(full, size, interpolation=cv2.INTER_AREA), np.uint8)
        return self._reduced[level]


def _level(full: int, wanted: float) -> int:
    return max(0, min(6, math.floor(math.log2(full / max(wanted, 1)))))


class Canvas:
    """One frame: a picture and its labels, drawn into by a pinhole camera from far to near."""

    def __init__(self, size: tuple[int, int], eye: Point, yaw: float, pitch: float, light: Light) -> None:
        self.height, self.width = size
        self.rgb: Image = np.zeros((*size, 3), np.uint8)
        self.labels: Image = np.full(size, SKY, np.uint8)
        self.eye = np.array(eye)
        self.light = light
        self.focal = 0.95 * self.width
        self.horizon = 0.46 * self.height + self.focal * pitch
        self.cos, self.sin, self.yaw = math.cos(yaw), math.sin(yaw), yaw

    def project(self, points: Array) -> tuple[Array, Array]:
        """Return pixel positions [N, 2] and depths [N] of world points [N, 3]."""
        x, y, z = (points - self.eye).T
        depth = x * self.sin + z * self.cos
        scale = self.focal / np.maximum(depth, NEAR / 4)
        u = self.width / 2 + (x * self.cos - z * self.sin) * scale
        return np.stack((u, self.horizon - y * scale), 1), depth

    def haze(self, colour: Colour, depth: float) -> tuple[float, ...]:
        """Return the colour as seen from ``depth`` metres away, under the street's light."""
        clear = math.exp(-max(depth, 0) / self.light.sight)
        seen = np.asarray(colour) * self.light.gain * clear + self.light.sky * (1 - clear)
        return tuple(np.clip(seen, 0, 255).tolist())

    def polygon(self, points: Array, colour: Colour, label: int) -> None:
        """Fill a convex polygon [N, 3]."""
        pixels, depth = self.project(points)
        if depth.min() >= NEAR:
            self._fill(pixels, self.haze(colour, float(depth.mean())), label)

    def limb(self, start: Point, end: Point, radius: float, colour: Colour, label: int) -> None:
        """Draw a rod with round ends."""
        pixels, depth = self.project(np.array((start, end)))
        if depth.min() < NEAR:
            return
        seen = self.haze(colour, float(depth.mean()))
        reach = np.maximum(self.focal * radius / depth, 0.5)[:, np.newaxis]
        along = pixels[1] - pixels[0]
        across = np.array((-along[1], along[0])) / max(float(np.hypot(*along)), 1e-6)
        outline = np.concatenate((pixels + across * reach, (pixels - across * reach)[::-1]))
        self._fill(outline, seen, label)
        for centre, size in zip(pixels, reach[:, 0], strict=True):
            self._disc(centre, size, seen, label)

    def ball(self, centre: Point, radius: float, colour: Colour, label: int) -> None:
        """Draw a ball."""
        pixels, depth = self.project(np.array((centre,)))
        if depth[0] >= NEAR:
            self._disc(pixels[0], self.focal * radius / depth[0], self.haze(colour, float(depth[0])), label)

    def wall(self, corners: Array, texture: Texture, label: int, shade: float = 1.0) -> None:
        """Put a texture on a rectangle; corners [4, 3] from the texture's top left, clockwise."""
        pixels, depth = self.project(corners)
        low = np.maximum(np.floor(pixels.min(0)), 0).astype(int)
        high = np.minimum(np.ceil(pixels.max(0)) + 1, (self.width, self.height)).astype(int)
        if depth.min() < NEAR / 2 or (low >= high).any():
            return
        top, right, bottom, left = np.hypot(*(np.roll(pixels, -1, 0) - pixels).T)
        image = texture.for_size(max(top, bottom), max(left, right))
        height, width = image.shape[:2]
        source = np.array(((0, 0), (width, 0), (width, height), (0, height)), np.float32) - np.float32(0.5)
        shape = (int(high[0] - low[0]), int(high[1] - low[1]))
        transform = cv2.getPerspectiveTransform(source, (pixels - low).astype(np.float32))
        clear = math.exp(-float(depth.mean()) / self.light.sight)
        seen = image * (self.light.gain * clear * shade) + self.light.sky * (1 - clear)
        patch = cv2.warpPerspective(
            np.clip(seen, 0, 255).astype(np.uint8), transform, shape, borderMode=cv2.BORDER_REPLICATE
        )
        mask = np.zeros(shape[::-1], np.uint8)
        cv2.fillConvexPoly(mask, _fixed(pixels - low), 1, cv2.LINE_8, _BITS)
        inside = mask.astype(bool)
        area = (slice(low[1], high[1]), slice(low[0], high[0]))
        self.rgb[area][inside] = patch[inside]
        self.labels[area][inside] = label

    def shadow(self, x: float, z: float, half_width: float, half_length: float) -> None:
        """Darken an ellipse on the ground; the labels stay."""
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        ring = np.stack((x + half_width * np.cos(angle), 0 * angle, z + half_length * np.sin(angle)), 1)
        pixels, depth = self.project(ring)
        if depth.min() < NEAR:
            return
        mask = np.zeros(self.labels.shape, np.uint8)
        cv2.fillConvexPoly(mask, _fixed(pixels), 1, cv2.LINE_8, _BITS)
        inside = mask.astype(bool)
        self.rgb[inside] = (self.rgb[inside] * 0.55).astype(np.uint8)

    def _fill(self, pixels: Array, colour: tuple[float, ...], label: int) -> None:
        outline = _fixed(pixels)
        cv2.fillConvexPoly(self.rgb, outline, colour, cv2.LINE_8, _BITS)
        cv2.fillConvexPoly(self.labels, outline, (label,), cv2.LINE_8, _BITS)

    def _disc(self, centre: Array, radius: float, colour: tuple[float, ...], label: int) -> None:
        x, y = _fixed(centre).tolist()
        size = max(round(radius * (1 << _BITS)), 1)
        cv2.circle(self.rgb, (x, y), size, colour, cv2.FILLED, cv2.LINE_8, _BITS)
        cv2.circle(self.labels, (x, y), size, (label,), cv2.FILLED, cv2.LINE_8, _BITS)


_BITS = 4  # fractional bits of a pixel position


def _fixed(pixels: Array) -> npt.NDArray[np.int32]:
    return np.rint(np.clip(pixels, -30000, 30000) * (1 << _BITS)).astype(np.int32)
