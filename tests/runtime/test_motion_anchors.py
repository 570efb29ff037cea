"""Motion on the grid of blocks, to an anchor before the frame and to one behind it, against known displacements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from streams import encode, panning, texture

from arseg_edge.runtime.motion.anchors import PastAnchor, Reach, from_future, inverted
from arseg_edge.runtime.motion.step import Step, Stepper, block_luma, blocks_of
from arseg_edge.runtime.motion.vectors import BLOCK, listed_vectors
from arseg_edge.runtime.source.open_source import open_source

ROWS, COLUMNS = 20, 30


def smooth_field(scale: float, seed: int) -> npt.NDArray[np.float32]:
    """Displacements that vary slowly, as those of a turning camera."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, np.pi, ROWS), np.linspace(0, np.pi, COLUMNS), indexing="ij")
    a, b = rng.uniform(-1, 1, 2)
    field = np.stack([np.sin(x + a) * np.cos(y), np.cos(x) * np.sin(y + b)], axis=-1)
    return (scale * field).astype(np.float32)


def bilinear(field: npt.NDArray[np.float32], x: float, y: float) -> npt.NDArray[np.float64]:
    """``field`` at a place, its border repeated: what OpenCV computes, written out."""
    rows, columns = field.shape[:2]
    left, top = int(np.floor(x)), int(np.floor(y))
    found = np.zeros(field.shape[2])
    for row, share_y in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, share_x in ((left, 1 - (x - left)), (left + 1, x - left)):
            cell = field[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)]
            found += share_y * share_x * cell
    return found


def steps_of(path: Path, *, reference: int | None, vectors: bool = True) -> list[Step]:
    stepper = Stepper()
    steps = []
    with open_source(path) as source:
        for frame in source.frames():
            listed = None
            if vectors and frame.vectors is not None:
                listed = listed_vectors(frame.vectors, frame.height, frame.width)
            steps.append(stepper.step(frame.picture, listed, reference=reference))
    return steps


def inner(motion: npt.NDArray[np.float32], margin: int = 3) -> npt.NDArray[np.float32]:
    return motion[margin:-margin, margin:-margin]


def test_the_brightness_of_blocks_is_their_mean() -> None:
    plane = np.random.default_rng(0).integers(0, 256, (4 * BLOCK - 3, 5 * BLOCK - 6), np.uint8)
    padded = np.pad(plane, ((0, 3), (0, 6)), mode="edge").astype(np.float64)
    expected = padded.reshape(4, BLOCK, 5, BLOCK).mean((1, 3))
    assert blocks_of(*plane.shape) == (4, 5)
    assert np.abs(block_luma(plane) - expected).max() <= 0.5


def test_a_step_that_is_inverted_leads_back() -> None:
    there = smooth_field(1.5, seed=1)
    back = inverted(there)
    for row in range(3, ROWS - 3):
        for column in range(3, COLUMNS - 3):
            dx, dy = back[row, column]
            assert np.abs(back[row, column] + bilinear(there, column + dx, row + dy)).max() < 0.05


def test_steps_add_up_along_the_path_of_the_content() -> None:
    fields = [smooth_field(0.8, seed) for seed in (2, 3, 4)]
    luma = np.zeros((ROWS, COLUMNS), np.uint8)
    anchor = PastAnchor(luma)
    reaches = [anchor.follow(Step(luma, field)) for field in fields]
    assert [reach.distance for reach in reaches] == [1, 2, 3]
    for row, column in ((8, 9), (10, 20), (12, 15)):
        x, y = float(column), float(row)
        for field in reversed(fields):
            dx, dy = bilinear(field, x, y)
            x, y = x + dx, y + dy
        # The chain interpolates what it knew of the frame before, which is not quite what walking the path gives.
        assert np.abs(reaches[-1].motion[row, column] - (x - column, y - row)).max() < 0.1


def reaches_of(steps: list[Step], count: int) -> tuple[list[Reach], list[Reach]]:
    """The frames 1 to ``count`` − 1, to frame 0 and to frame ``count``."""
    past = PastAnchor(steps[0].luma)
    return [past.follow(step) for step in steps[1:count]], from_future(steps[1 : count + 1])


@pytest.mark.parametrize(
    ("coding", "sure", "vectors"),
    [
        ({"b_frames": 0, "refs": 1}, True, True),
        ({"b_frames": 3, "refs": 3}, False, True),
        ({"b_frames": 0, "refs": 1}, False, False),
    ],
    ids=["vectors to the frame before", "vectors that may point elsewhere", "no vectors"],
)
def test_a_pan_is_followed_both_ways(tmp_path: Path, coding: dict[str, int], sure: bool, vectors: bool) -> None:
    dx, dy, count = 4, -2, 8
    path = encode(tmp_path / "pan.mp4", panning(count + 1, 240, 320, dx, dy), **coding)
    to_past, to_future = reaches_of(steps_of(path, reference=1 if sure else None, vectors=vectors), count)
    assert len(to_past) == len(to_future) == count - 1
    for index, (past, future) in enumerate(zip(to_past, to_future, strict=True), 1):
        for reach, frames in ((past, index), (future, index - count)):
            assert reach.distance == abs(frames)
            content = np.median(inner(reach.motion), axis=(0, 1)) * BLOCK
            assert np.abs(content - (dx * frames, dy * frames)).max() < 1.0
            assert inner(reach.unshown).mean() < 0.1


def test_what_an_anchor_does_not_show_is_seen() -> None:
    anchor, other = (block_luma(texture(ROWS * BLOCK, COLUMNS * BLOCK, seed)[..., 0]) for seed in (0, 1))
    frame = anchor.copy()
    frame[5:12, 10:20] ^= 128
    still = np.zeros((ROWS, COLUMNS, 2), np.float32)
    reach = PastAnchor(anchor).follow(Step(frame, still))
    assert reach.unshown[6:11, 11:19].all()
    assert not reach.unshown[:3].any()
    assert not PastAnchor(other).follow(Step(other, still)).unshown.any()


def test_a_frame_of_another_size_is_tied_to_nothing() -> None:
    stepper = Stepper()
    first = stepper.step(texture(64, 96), None, reference=None)
    second = stepper.step(texture(96, 64), None, reference=None)
    assert first.displacement is None
    assert second.displacement is None
    assert stepper.step(texture(96, 64), None, reference=None).displacement is not None
