"""What stands on the street or moves along it: trees, lamp posts, signs, people."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from street.canvas import Canvas, Point
from street.classes import CYCLIST, PEDESTRIAN, POLE, SIGN, TREE

Draw = Callable[[Canvas, float, float, float], None]


@dataclass(frozen=True)
class Thing:
    """Something on the ground at (x, z) at time 0, with a velocity in metres a second."""

    x: float
    z: float
    draw: Draw  # canvas, x, z, seconds
    vx: float = 0.0
    vz: float = 0.0

    def at(self, seconds: float) -> tuple[float, float]:
        """Return where it is."""
        return self.x + self.vx * seconds, self.z + self.vz * seconds


LEAVES = 110  # clusters of them in a tree's crown


def tree(rng: np.random.Generator) -> Draw:
    """Return a tree: trunk, branches, and a crown of leaf clusters."""
    height, spread = rng.uniform(4.2, 5.6), rng.uniform(1.3, 1.9)
    hue = np.array((rng.uniform(60, 125), rng.uniform(100, 125), rng.uniform(35, 60)))
    direction = rng.normal(0, 1, (LEAVES, 3))
    direction *= rng.uniform(0.25, 1, (LEAVES, 1)) ** 0.5 / np.linalg.norm(direction, axis=1, keepdims=True)
    direction = direction[np.argsort(-direction[:, 2])]
    places = direction * spread + (0, height, 0)
    sizes = rng.uniform(0.12, 0.3, LEAVES) * spread
    shades = np.clip(0.75 + 0.35 * direction[:, 1] + rng.normal(0, 0.13, LEAVES), 0.3, 1.35)

    def draw(canvas: Canvas, x: float, z: float, seconds: float) -> None:
        canvas.shadow(x, z, 1.3, 0.9)
        bark = (84, 66, 50)
        canvas.limb((x, 0, z), (x, height - 0.6, z), 0.13, bark, TREE)
        for side in (-1, 1):
            canvas.limb((x, height - 1.7, z), (x + 0.7 * side * spread, height, z), 0.06, bark, TREE)
        for place, size, shade in zip(places.tolist(), sizes.tolist(), shades.tolist(), strict=True):
            canvas.ball((x + place[0], place[1], z + place[2]), size, hue * shade, TREE)

    return draw


def lamp_post(inward: float) -> Draw:
    """Return a lamp post whose arm points along x by ``inward``."""

    def draw(canvas: Canvas, x: float, z: float, seconds: float) -> None:
        steel = (92, 98, 100)
        canvas.limb((x, 0, z), (x, 1.2, z), 0.11, steel, POLE)
        canvas.limb((x, 1.2, z), (x, 6.4, z), 0.07, steel, POLE)
        canvas.limb((x, 6.4, z), (x + inward, 6.7, z), 0.05, steel, POLE)
        canvas.limb((x + inward, 6.7, z), (x + 1.4 * inward, 6.68, z), 0.1, (190, 190, 180), POLE)

    return draw


def sign(rng: np.random.Generator) -> Draw:
    """Return a traffic sign on its pole: round, triangular, or square."""
    corners, turn, rim, face = (
        (20, 0.0, (200, 30, 35), (240, 240, 235)),
        (3, math.pi / 2, (205, 35, 35), (245, 240, 225)),
        (4, math.pi / 4, (235, 235, 235), (30, 80, 180)),
    )[int(rng.integers(3))]
    angle = turn + np.arange(corners) * 2 * np.pi / corners
    board = np.stack((np.cos(angle), np.sin(angle), 0 * angle), 1)

    def draw(canvas: Canvas, x: float, z: float, seconds: float) -> None:
        canvas.limb((x, 0, z), (x, 2.7, z), 0.045, (120, 122, 124), POLE)
        centre = np.array((x, 2.6, z - 0.06))
        for radius, colour in ((0.5, rim), (0.37, face)):
            canvas.polygon(centre + radius * board, colour, SIGN)
        bar = np.array(((-0.2, -0.05, 0), (0.2, -0.05, 0), (0.2, 0.05, 0), (-0.2, 0.05, 0)))
        canvas.polygon(centre + bar, (40, 40, 45) if corners != 4 else (240, 240, 240), SIGN)

    return draw


def pedestrian(rng: np.random.Generator, heading: tuple[float, float]) -> Draw:
    """Return a person who walks along ``heading`` = (x, z)."""
    coat, trousers = rng.integers(30, 230, 3), rng.integers(25, 110, 3)
    skin = np.array((222, 178, 150)) * rng.uniform(0.45, 1.0)
    phase, tall = rng.uniform(0, 6), rng.uniform(0.92, 1.08)
    ahead, right = np.array(heading), np.array((heading[1], -heading[0]))

    def draw(canvas: Canvas, x: float, z: float, seconds: float) -> None:
        def at(forward: float, side: float, up: float) -> Point:
            dx, dz = ahead * forward + right * side
            return (x + float(dx), up * tall, z + float(dz))

        canvas.shadow(x, z, 0.4, 0.3)
        swing = 0.32 * math.sin(phase + seconds * 7)
        for side in (-1, 1):
            step = swing * side
            hip, knee, heel = (at(part * step, 0.1 * side, up) for part, up in ((0, 0.9), (0.6, 0.48), (1, 0.07)))
            canvas.limb(hip, knee, 0.085, trousers, PEDESTRIAN)
            canvas.limb(knee, heel, 0.07, trousers, PEDESTRIAN)
            canvas.limb(heel, at(step + 0.12, 0.1 * side, 0.05), 0.06, (35, 30, 30), PEDESTRIAN)
            shoulder, hand = at(0, 0.23 * side, 1.38), at(-step * 0.9, 0.27 * side, 0.85)
            canvas.limb(shoulder, hand, 0.06, coat * 0.85, PEDESTRIAN)
        canvas.limb(at(0, 0, 0.95), at(0, 0, 1.36), 0.2, coat, PEDESTRIAN)
        canvas.ball(at(0, 0, 1.64), 0.13, skin, PEDESTRIAN)
        canvas.limb(at(-0.03, 0, 1.7), at(-0.05, 0, 1.72), 0.11, (50, 38, 30), PEDESTRIAN)

    return draw


def cyclist(rng: np.random.Generator) -> Draw:
    """Return a person on a bicycle who rides along z."""
    shirt, bicycle = rng.integers(60, 240, 3), rng.integers(30, 200, 3)
    turns = np.linspace(0, 2 * np.pi, 15)

    def draw(canvas: Canvas, x: float, z: float, seconds: float) -> None:
        canvas.shadow(x, z, 0.35, 0.8)
        for hub in (0.52, -0.52):
            rim = [(x, 0.34 + 0.33 * math.sin(a), z + hub + 0.33 * math.cos(a)) for a in turns]
            for start, end in pairwise(rim):
                canvas.limb(start, end, 0.035, (28, 28, 30), CYCLIST)
        for tube in (((0.52, 0.34), (0.42, 1.02)), ((-0.15, 0.9), (0, 0.3)), ((0, 0.3), (0.45, 0.8))):
            low, high = ((x, up, z + forward) for forward, up in tube)
            canvas.limb(low, high, 0.035, bicycle, CYCLIST)
        canvas.limb((x - 0.27, 1.05, z + 0.42), (x + 0.27, 1.05, z + 0.42), 0.03, (40, 40, 40), CYCLIST)
        for side in (-1, 1):
            crank = seconds * 6 + (math.pi if side > 0 else 0)
            pedal = (x + 0.13 * side, 0.32 + 0.17 * math.sin(crank), z + 0.17 * math.cos(crank))
            knee = (x + 0.13 * side, 0.72 + 0.12 * math.sin(crank), z + 0.2)
            canvas.limb(knee, pedal, 0.065, (45, 48, 70), CYCLIST)
            canvas.limb((x + 0.1 * side, 0.98, z - 0.15), knee, 0.09, (45, 48, 70), CYCLIST)
            hand = (x + 0.25 * side, 1.07, z + 0.4)
            canvas.limb((x + 0.2 * side, 1.4, z + 0.18), hand, 0.05, shirt, CYCLIST)
        canvas.ball((x, 1.66, z + 0.28), 0.13, (210, 165, 140), CYCLIST)
        canvas.limb((x, 1.04, z - 0.12), (x, 1.4, z + 0.12), 0.19, shirt, CYCLIST)
        canvas.limb((x, 1.72, z + 0.2), (x, 1.74, z + 0.32), 0.12, (235, 235, 230), CYCLIST)

    return draw
