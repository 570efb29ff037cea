"""Cars."""

from __future__ import annotations

import math

import numpy as np

from street.canvas import Array, Canvas, Colour
from street.classes import CAR
from street.things import Draw


def _prism(low: Array, high: Array) -> list[Array]:
    """Return the four sides and the top between two rectangles, [4, 3] each."""
    sides = [np.array((low[i], low[(i + 1) % 4], high[(i + 1) % 4], high[i])) for i in range(4)]
    return [*sides, high]


def _rectangle(half_width: float, back: float, front: float, height: float) -> Array:
    return np.array(
        (
            (-half_width, height, back),
            (half_width, height, back),
            (half_width, height, front),
            (-half_width, height, front),
        )
    )


def car(rng: np.random.Generator, heading: int) -> Draw:
    """Return a car that looks along z (``heading`` 1) or against it (-1)."""
    paint = rng.choice(((170, 20, 25), (30, 60, 130), (200, 200, 205), (50, 52, 58), (120, 125, 130)))
    paint = paint * rng.uniform(0.8, 1.15)
    stretch = rng.uniform(0.92, 1.08)
    body = _prism(_rectangle(0.86, -2.05, 2.05, 0.3), _rectangle(0.84, -2.0, 1.95, 0.88))
    cabin = _prism(_rectangle(0.8, -1.85, 0.95, 0.88), _rectangle(0.6, -1.3, 0.25, 1.45))
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    wheel = np.stack((0 * angle, 0.33 + 0.33 * np.sin(angle), 0.33 * np.cos(angle)), 1)
    turn = np.array((heading, 1, heading * stretch))

    def draw(canvas: Canvas, x: float, z: float, seconds: float) -> None:
        place = np.array((x, 0, z))

        def face(points: Array, colour: Array | Colour, shaded: bool = True) -> bool:
            """Fill a face if it looks at the camera."""
            corners = points * turn + place
            normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
            middle = corners.mean(0)
            if normal @ (middle - place - (0, 0.6, 0)) < 0:
                normal = -normal  # outwards
            if normal @ (canvas.eye - middle) <= 0:
                return False
            light = 0.72 + 0.38 * max(float(normal @ canvas.light.sun) / float(np.linalg.norm(normal)), 0)
            canvas.polygon(corners, np.asarray(colour) * (light if shaded else 1), CAR)
            return True

        canvas.shadow(x, z, 1.05, 2.4)
        for side in (-0.8, 0.8):
            for axle in (-1.3, 1.3):
                for outer, scale, colour in ((0.0, 1.0, (22, 22, 24)), (0.07, 0.55, (150, 152, 155))):
                    rim = (wheel - (0, 0.33, 0)) * scale + (side + math.copysign(outer, side), 0.33, axle)
                    if abs(canvas.eye[0] - x) > 0.5 or outer == 0:
                        canvas.polygon(rim * turn + place, colour, CAR)
        for points in body:
            face(points, paint)
        for points in cabin:
            if face(points, paint) and points is not cabin[-1]:
                centre = points.mean(0)
                face(centre + (points - centre) * (0.84, 0.74, 0.84), (38, 48, 58))
        for side in (-0.6, 0.6):
            for end, colour in ((-2.06, (190, 25, 25)), (2.06, (245, 245, 215))):
                lamp = np.array(((-0.16, -0.09, 0), (0.16, -0.09, 0), (0.16, 0.09, 0), (-0.16, 0.09, 0)))
                face(lamp + np.array((side, 0.7, end)), colour, shaded=False)
        for end, colour in ((-2.07, (235, 205, 60)), (2.07, (235, 235, 235))):
            plate = np.array(((-0.26, -0.06, 0), (0.26, -0.06, 0), (0.26, 0.06, 0), (-0.26, 0.06, 0)))
            face(plate + np.array((0, 0.45, end)), colour, shaded=False)

    return draw
