"""What stands beside the street: houses, fences, gardens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from street.canvas import Array, Canvas, Colour, Texture
from street.classes import BUILDING, FENCE
from street.things import Draw, Thing

DENSITY = 24  # texture pixels a metre
STRIP = 3.0  # metres of wall that share one haze and one sharpness


def cut_into_strips(image: Array) -> list[Texture]:
    """Return an image [H, W, 3], 0 to 255, as textures of ``STRIP`` metres each, from left to right."""
    pixels = int(STRIP * DENSITY)
    ready = np.clip(image, 0, 255).astype(np.uint8)
    return [Texture(ready[:, start : start + pixels]) for start in range(0, ready.shape[1], pixels)]


def facade(rng: np.random.Generator, width: float, height: float) -> list[Texture]:
    """Return the front of a house: brick or plaster, rows of windows, a shop or a door below."""
    rows, columns = int(height * DENSITY), int(width * DENSITY)
    base = rng.choice(((150, 92, 72), (196, 182, 152), (168, 160, 150), (128, 82, 66), (206, 200, 190)))
    image = base * rng.uniform(0.8, 1.1) + rng.normal(0, 9, (rows, columns, 1))
    stains = rng.normal(0, 12, (rows // 24 + 1, columns // 24 + 1))
    image += cv2.resize(stains, (columns, rows))[..., np.newaxis]
    if base[0] - base[2] > 50:
        image[::4] *= 0.82  # courses of bricks
    glass = np.array((52, 62, 74)) * rng.uniform(0.7, 1.4)
    frame = (225, 222, 215) if rng.random() < 0.7 else (60, 50, 45)

    def box(left: float, bottom: float, right: float, top: float, colour: Colour | Array) -> None:
        upper, lower = max(rows - int(top * DENSITY), 0), rows - int(bottom * DENSITY)
        area = image[upper:lower, int(left * DENSITY) : int(right * DENSITY)]
        area[:] = np.asarray(colour) + rng.normal(0, 5, (*area.shape[:2], 1))

    def window(left: float, bottom: float, across: float) -> None:
        right, top = left + across, bottom + 1.6
        box(left - 0.08, bottom - 0.08, right + 0.08, top + 0.08, frame)
        box(left, bottom, right, top, glass * rng.uniform(0.7, 1.5))
        box(left, bottom + 0.78, right, bottom + 0.84, frame)
        box(left - 0.15, bottom - 0.2, right + 0.15, bottom - 0.08, base * 1.15)

    storey, bay = 3.1, rng.uniform(1.9, 2.6)
    count = int((width - 0.6) / bay)
    lefts = (width - count * bay) / 2 + bay * (np.arange(count) + 0.24)
    for floor in range(1, int(height / storey)):
        for left in lefts:
            window(left, floor * storey + 0.9, bay * 0.52)
    if rng.random() < 0.55:
        board = rng.integers(25, 170, 3)
        box(0.2, 0, width - 0.2, 3.0, board * 0.6)
        for left in np.arange(0.5, width - 2, 2.8):
            box(left, 0.6, min(left + 2.4, width - 0.4), 2.3, glass * rng.uniform(0.8, 1.6))
        box(0.2, 2.4, width - 0.2, 3.0, board)
        for left in np.arange(0.9, width - 1, 0.7):
            box(left, 2.58, left + rng.uniform(0.2, 0.5), 2.84, (230, 225, 205))
    else:
        door = int(rng.integers(count))
        for index, left in enumerate(lefts):
            if index != door:
                window(left, 0.9, bay * 0.52)
        box(lefts[door], 0, lefts[door] + 1.1, 2.3, rng.integers(30, 150, 3))
    box(0, height - 0.3, width, height, base * 0.7)
    return cut_into_strips(image)


def slats(rng: np.random.Generator, width: float, height: float) -> list[Texture]:
    """Return a fence of upright slats."""
    rows, columns = int(height * DENSITY), int(width * DENSITY)
    wood = rng.choice(((140, 104, 70), (86, 96, 84), (190, 186, 176)))
    gaps = np.where(np.arange(columns) % 7 < 5, 1.0, 0.35)
    tones = np.repeat(rng.uniform(0.8, 1.15, columns // 7 + 1), 7)[:columns]
    image = wood * (gaps * tones)[np.newaxis, :, np.newaxis] + rng.normal(0, 6, (rows, columns, 1))
    image[rows // 5 : rows // 5 + 3] *= 0.7
    return cut_into_strips(image)


def _along(x: float, start: float, height: float) -> Array:
    """Return the corners of a strip of wall along the street, for ``Canvas.wall``."""
    end = start + STRIP
    return np.array(((x, height, start), (x, height, end), (x, 0, end), (x, 0, start)))


def railing(texture: Texture, height: float) -> Draw:
    """Return a strip of fence along the street, its middle at the thing's place."""

    def draw(canvas: Canvas, x: float, z: float, seconds: float) -> None:
        canvas.wall(_along(x, z - STRIP / 2, height), texture, FENCE)

    return draw


@dataclass(frozen=True)
class House:
    """A house on one side of the street, with a gable and a pitched roof."""

    x: float  # of its front; the sign is the side of the street
    start: float
    height: float
    front: list[Texture]
    plaster: Texture
    tiles: Colour

    def draw(self, canvas: Canvas, seconds: float) -> None:
        """Draw roof, gable and front, the parts that a street can see."""
        side, end = math.copysign(1, self.x), self.start + STRIP * len(self.front)
        ridge, back, top = self.x + 4.5 * side, self.x + 9 * side, self.height + 2.6
        eaves_near, eaves_far = (self.x, self.height, self.start), (self.x, self.height, end)
        ridge_near, ridge_far = (ridge, top, self.start), (ridge, top, end)
        slope = np.array((eaves_near, eaves_far, ridge_far, ridge_near))
        canvas.polygon(slope, self.tiles, BUILDING)
        gable = np.array((eaves_near, ridge_near, (back, self.height, self.start)))
        canvas.polygon(gable, np.asarray(self.tiles) * 0.7, BUILDING)
        flank = np.array((self.x, back, back, self.x)), np.array((self.height, self.height, 0, 0))
        canvas.wall(np.stack((*flank, np.full(4, self.start)), 1), self.plaster, BUILDING, 0.7)
        shade = 0.75 + 0.35 * max(-side * float(canvas.light.sun[0]), 0)
        for index, texture in reversed(list(enumerate(self.front))):
            canvas.wall(_along(self.x, self.start + STRIP * index, self.height), texture, BUILDING, shade)


@dataclass(frozen=True)
class Garden:
    """Trees behind a fence."""

    start: float
    things: list[Thing]

    def draw(self, canvas: Canvas, seconds: float) -> None:
        """Draw the trees, then the fence."""
        for thing in self.things:
            thing.draw(canvas, *thing.at(seconds), seconds)
