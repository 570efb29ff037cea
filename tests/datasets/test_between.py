"""Frames between two photographs: against scenes whose motion is known."""

from __future__ import annotations

import doctest

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from arseg_edge.datasets import between
from arseg_edge.datasets.between import frames_between

SIZE = (120, 160)
INSIDE = (slice(20, -20), slice(20, -20))


@pytest.fixture(scope="module")
def world() -> NDArray[np.uint8]:
    """Texture of all sizes, larger than a picture."""
    random = np.random.default_rng(0)
    layers = [
        cv2.resize(random.normal(0, 30, (side, side, 3)).astype(np.float32), (240, 200), interpolation=cv2.INTER_CUBIC)
        for side in (4, 12, 36)
    ]
    return np.clip(128 + sum(layers), 0, 255).astype(np.uint8)


def seen(world: NDArray[np.uint8], time: float) -> NDArray[np.uint8]:
    """Return what a camera sees that moves towards the world and to its side; ``time`` is from 0 to 1."""
    # What is at x in the last frame is at (x - centre) / 1.2 + centre - 9 in the first: places move evenly in time.
    zoom, centre = 1 / (1 + 0.2 * time), np.array([80.0, 60.0])
    x, y = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
    across = (x - 9 * time - centre[0]) * zoom + centre[0] + 40
    down = (y - centre[1]) * zoom + centre[1] + 40
    return cv2.remap(world, across.astype(np.float32), down.astype(np.float32), cv2.INTER_LINEAR).astype(np.uint8)


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other)[INSIDE].mean())


def test_the_example_runs() -> None:
    outcome = doctest.testmod(between)
    assert (outcome.attempted > 0, outcome.failed) == (True, 0)


def test_photographs_stay_as_they_are_at_both_ends(world: NDArray[np.uint8]) -> None:
    first, last = seen(world, 0), seen(world, 1)
    frames = frames_between(first, last, steps=4)
    assert {(frame.shape, frame.dtype.name) for frame in frames} == {((*SIZE, 3), "uint8")}
    assert len(frames) == 5
    np.testing.assert_array_equal(frames[0], first)
    np.testing.assert_array_equal(frames[-1], last)


def test_frames_between_are_what_the_camera_would_have_seen(world: NDArray[np.uint8]) -> None:
    frames = frames_between(seen(world, 0), seen(world, 1), steps=4)
    for step in (1, 2, 3):
        true = seen(world, step / 4)
        neighbours = [seen(world, (step + side) / 4) for side in (-1, 1)]
        assert difference(frames[step], true) < 0.3 * min(difference(frames[step], other) for other in neighbours)


def test_one_step_needs_nothing_between(world: NDArray[np.uint8]) -> None:
    first, last = seen(world, 0), seen(world, 1)
    one, other = frames_between(first, last, steps=1)
    assert (one is first, other is last) == (True, True)


def test_light_changes_from_the_ones_to_the_others(world: NDArray[np.uint8]) -> None:
    bright = world // 2 + 100
    frames = frames_between(world[:120, :160] // 2, bright[:120, :160], steps=5)
    means = [frame.mean() for frame in frames]
    np.testing.assert_allclose(np.diff(means), 20, atol=2)
