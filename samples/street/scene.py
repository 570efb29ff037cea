"""A whole street, decided by a seed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np

from street.canvas import Canvas, Image, Light
from street.car import car
from street.classes import BUILDING
from street.ground import ROAD_EDGE, Ground, draw_sky, smooth_noise
from street.things import Thing, cyclist, lamp_post, pedestrian, sign, tree
from street.walls import STRIP, Garden, House, cut_into_strips, facade, railing, slats

WALL = 8.4  # from the middle of the road to the front of the buildings


class Street:
    """Everything that a seed decides."""

    def __init__(self, seed: int, seconds: float) -> None:
        rng = np.random.default_rng(seed)
        self.speed = rng.uniform(6.5, 8.5)
        self.far = self.speed * seconds + 130  # where the street ends
        self.lane = float(rng.choice((-1.0, 1.0)))  # the side on which one drives
        self.light = self._light(rng)
        self.noise = smooth_noise(rng)
        self.clouds = smooth_noise(rng, grain=9)
        asphalt, slabs = rng.uniform(72, 104), rng.uniform(128, 164)
        self.ground = Ground(
            road=np.array((asphalt, asphalt, asphalt * 1.04)),
            pavement=np.array((slabs, slabs * 0.97, slabs * 0.92)),
            noise=self.noise,
            crossing=rng.uniform(40, 52),
        )
        self.sides = sorted([plot for side in (-1, 1) for plot in self._plots(rng, side)], key=lambda plot: -plot.start)
        self.end = facade(rng, 30, 11)
        self.things = [*self._furniture(rng), *self._traffic(rng), *self._people(rng)]

    def _light(self, rng: np.random.Generator) -> Light:
        bright, warm, grey = rng.uniform(0.82, 1.08), rng.uniform(-0.05, 0.07), rng.uniform(0, 1)
        sun = np.array((rng.uniform(-0.9, 0.9), 1.0, rng.uniform(-0.8, 0.3)))
        gain = bright * np.array((1 + warm, 1.0, 1 - warm))
        return Light(
            sun=sun / np.linalg.norm(sun),
            sky=gain * ((1 - grey) * np.array((204, 220, 238)) + grey * np.array((206, 208, 210))),
            zenith=gain * ((1 - grey) * np.array((96, 150, 222)) + grey * np.array((160, 172, 188))),
            gain=gain,
            sight=rng.uniform(120, 300),
        )

    def _plots(self, rng: np.random.Generator, side: int) -> Iterator[House | Garden]:
        start = rng.uniform(-6, 0)
        while start < self.far:
            width = STRIP * int(rng.integers(2, 5))
            front = side * (WALL + rng.choice((0, 0, 0.5, 1.2)))
            if rng.random() < 0.24:
                panels = slats(rng, width, 1.7)
                trees = [
                    Thing(front + side * rng.uniform(2.4, 3.6), start + at, tree(rng))
                    for at in np.arange(width - 1.5, 0, -3.2)
                ]
                fence = [
                    Thing(front, start + STRIP * (index + 0.5), railing(panel, 1.7))
                    for index, panel in enumerate(panels)
                ]
                yield Garden(start, trees + fence[::-1])
            else:
                height = float(rng.choice((6.5, 9.6, 9.6, 12.7)))
                plaster = np.array((168, 158, 146)) + rng.normal(0, 9, (120, 160, 1))
                tiles = rng.choice(((120, 72, 58), (86, 84, 88), (104, 82, 70)))
                flank = cut_into_strips(plaster)[0]
                yield House(front, start, height, facade(rng, width, height), flank, tiles)
            start += width + float(rng.choice((0, 0, 0, 1.5)))

    def _furniture(self, rng: np.random.Generator) -> Iterator[Thing]:
        for side in (-1, 1):
            kerb = side * (ROAD_EDGE + 0.55)
            for z in np.arange(rng.uniform(4, 16), self.far, 27):
                yield Thing(kerb, z, lamp_post(-side))
                yield Thing(kerb, z + rng.uniform(5, 8), sign(rng))
                if rng.random() < 0.6:
                    yield Thing(kerb + side * 0.6, z + rng.uniform(10, 13), tree(rng))
                if rng.random() < 0.5:
                    panels = slats(rng, 9, 1.05)
                    for index, panel in enumerate(panels):
                        at = z + 14 + STRIP * (index + 0.5)
                        yield Thing(side * (ROAD_EDGE + 0.3), at, railing(panel, 1.05))
        for x in np.arange(-24, 25, 6.0):
            yield Thing(x, self.far - 4 + rng.uniform(-2, 2), tree(rng))

    def _traffic(self, rng: np.random.Generator) -> Iterator[Thing]:
        yield Thing(self.lane * 1.7, rng.uniform(17, 24), car(rng, 1), vz=self.speed * rng.uniform(0.85, 1.1))
        z = rng.uniform(25, 45)
        while z < 2.5 * self.far:
            yield Thing(-self.lane * 1.5, z, car(rng, -1), vz=-self.speed * 1.1)
            z += rng.uniform(18, 40)
        for z in np.arange(rng.uniform(9, 14), self.far - 20, 7.5):
            if rng.random() < 0.5:
                yield Thing(-self.lane * 3.65, z, car(rng, int(rng.choice((-1, 1)))))

    def _people(self, rng: np.random.Generator) -> Iterator[Thing]:
        yield Thing(self.lane * 3.5, rng.uniform(11, 15), cyclist(rng), vz=self.speed * rng.uniform(0.7, 0.9))
        yield Thing(-self.lane * 2.9, rng.uniform(60, 80), cyclist(rng), vz=-4.0)
        for z in np.arange(8, self.far - 20, 5.0):
            side, heading = float(rng.choice((-1.0, 1.0))), float(rng.choice((-1.0, 1.0)))
            x = side * rng.uniform(ROAD_EDGE + 1.2, WALL - 0.6)
            yield Thing(x, z + rng.uniform(-2, 2), pedestrian(rng, (0, heading)), vz=1.4 * heading)
        for _ in range(2):
            start = self.lane * rng.uniform(7, 10)
            z = self.ground.crossing + rng.uniform(-1, 1)
            yield Thing(start, z, pedestrian(rng, (-self.lane, 0)), vx=-self.lane * 1.3)

    def frame(self, seconds: float, size: tuple[int, int]) -> tuple[Image, Image]:
        """Return the picture, uint8 [H, W, 3], and the labels, uint8 [H, W], at a time."""
        eye = (self.lane * (1.7 + 0.15 * math.sin(seconds * 1.3)), 1.4, self.speed * seconds)
        yaw, pitch = 0.022 * math.sin(seconds * 0.9), 0.004 * math.sin(seconds * 5.1)
        canvas = Canvas(size, eye, yaw, pitch, self.light)
        draw_sky(canvas, self.clouds)
        self.ground.draw(canvas)
        for index, texture in enumerate(self.end):
            x = STRIP * (index - len(self.end) / 2)
            corners = [(x, 11), (x + STRIP, 11), (x + STRIP, 0), (x, 0)]
            canvas.wall(np.array([(*corner, self.far) for corner in corners]), texture, BUILDING)
        for plot in self.sides:
            plot.draw(canvas, seconds)
        for thing in sorted(self.things, key=lambda thing: -thing.at(seconds)[1]):
            x, z = thing.at(seconds)
            if z - eye[2] < self.far:
                thing.draw(canvas, x, z, seconds)
        # A lens is never quite sharp; the labels stay exact.
        soft = cv2.GaussianBlur(canvas.rgb, (0, 0), 0.6 * size[1] / 480)
        return np.asarray(soft, np.uint8), canvas.labels
