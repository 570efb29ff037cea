"""Augmentation: image, labels, keyframe and motion still belong together afterwards.

Nothing here repeats the code's formulas: scenes are drawn from functions of the plane, and what is checked is that
the augmented motion leads from the augmented frame to the same thing in the augmented keyframe.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from moving_scenes import colours, look_up, moved, pixels

from arseg_edge.datasets import IGNORED
from arseg_edge.training.augment import Augmentation, augment, augment_frame, draw_transform
from arseg_edge.training.pairs import LabelledFrame, Pair

SIZE = (120, 160)
# The camera of a car that turns: everything drifts, grows and tilts a little.
CAMERA = np.array([[1.05, -0.06, 7.3], [0.05, 1.03, -5.6]])
PLAIN = Augmentation(crop=(96, 128), smallest=1.0, largest=1.0, rotation=0.0, flip=False, colour=0.0)


def scene() -> Pair:
    """A frame that is bright where its label is 1, and the keyframe that the camera saw before."""
    places = pixels(SIZE)
    there = moved(places, CAMERA)
    back = np.linalg.inv(np.vstack([CAMERA, [0, 0, 1]]))[:2]
    image = colours(places)
    return Pair(
        image=image.round().astype(np.uint8),
        labels=(image[..., 1] > 128).astype(np.uint8),
        keyframe=colours(moved(places, back)).round().astype(np.uint8),
        motion=(there - places).astype(np.float16),
        distance=4,
    )


def error(pair: Pair, motion: npt.NDArray[np.floating], visible: npt.NDArray[np.bool_]) -> float:
    """Mean difference of the frame and the keyframe warped by the motion, in levels, where both can be seen."""
    warped = look_up(pair.keyframe.astype(float), pixels(pair.labels.shape) + motion.astype(float))
    return float(np.abs(warped - pair.image)[visible].mean())


def visible(pair: Pair, affine: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Where a pixel, and what the motion leads to, come from inside the pictures and lie inside the crop."""
    there = pixels(pair.labels.shape) + pair.motion.astype(float)
    inside = pair.labels != IGNORED
    for points, (height, width) in ((there, pair.labels.shape), (moved(there, affine), SIZE)):
        inside &= ((points > 0.5) & (points < np.array([width, height]) - 1.5)).all(-1)
    return inside


CHANGES = {
    "nothing": PLAIN,
    "crop": Augmentation((64, 80), 1.0, 1.0, 0.0, False, 0.0),
    "smaller": Augmentation((96, 128), 0.6, 0.6, 0.0, False, 0.0),
    "larger": Augmentation((96, 128), 1.7, 1.7, 0.0, False, 0.0),
    "turned": Augmentation((96, 128), 1.0, 1.0, 25.0, False, 0.0),
    "mirrored": Augmentation((96, 128), 1.0, 1.0, 0.0, True, 0.0),
    "all": Augmentation((96, 128), 0.6, 1.8, 25.0, True, 0.3),
}


@pytest.mark.parametrize("name", CHANGES)
def test_motion_still_leads_to_the_same_thing(name: str) -> None:
    settings, pair = CHANGES[name], scene()
    mirrored = 0
    for seed in range(6):
        changed = augment(pair, settings, np.random.default_rng(seed))
        affine = draw_transform(SIZE, settings, np.random.default_rng(seed)).affine
        seen = visible(changed, affine)
        assert changed.image.shape == changed.keyframe.shape == (*settings.crop, 3)
        assert seen.mean() > 0.2
        right = error(changed, changed.motion, seen)
        assert right < 1.5
        # What is wrong with it can be seen: without motion, and where its x points to the other side.
        assert error(changed, np.zeros_like(changed.motion), seen) > 3 * right
        assert error(changed, changed.motion * np.float16([-1, 1]), seen) > 3 * right
        mirrored += np.linalg.det(affine[:, :2]) < 0
    assert (0 < mirrored < 6) == settings.flip


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "all"])
def test_labels_stay_on_what_they_label(name: str) -> None:
    for seed in range(4):
        changed = augment(scene(), CHANGES[name], np.random.default_rng(seed))
        green = changed.image[..., 1].astype(int)
        clear = (changed.labels != IGNORED) & (np.abs(green - 128) > 8)
        assert clear.mean() > 0.2
        np.testing.assert_array_equal(changed.labels[clear], green[clear] > 128)


def coordinates() -> LabelledFrame:
    """A picture in which red says the column and green the row."""
    places = pixels(SIZE)
    image = np.concatenate([places, np.zeros((*SIZE, 1))], axis=-1)
    return LabelledFrame(image.astype(np.uint8), np.zeros(SIZE, np.uint8))


def linear_part(frame: LabelledFrame) -> npt.NDArray[np.float64]:
    """How far the source moves for a step right and a step down, read off the picture; [2, 2], in columns."""
    inside = frame.labels != IGNORED
    # At the very border the picture is mixed with its mirror image.
    columns, rows = frame.image[..., 0], frame.image[..., 1]
    inside &= (columns > 1) & (columns < SIZE[1] - 2) & (rows > 1) & (rows < SIZE[0] - 2)
    places = np.column_stack([pixels(frame.labels.shape)[inside], np.ones(inside.sum())])
    found, *_ = np.linalg.lstsq(places, frame.image[..., :2][inside].astype(float), rcond=None)
    return found[:2].T


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.7])
def test_scale_is_what_was_asked_for(scale: float) -> None:
    settings = Augmentation((96, 128), scale, scale, 20.0, True, 0.0)
    parts = [linear_part(augment_frame(coordinates(), settings, np.random.default_rng(seed))) for seed in range(12)]
    for part in parts:
        # A step in the result is 1/scale in the source, whatever the direction: a rotation, maybe mirrored.
        np.testing.assert_allclose(part.T @ part, np.eye(2) / scale**2, atol=0.02 / scale**2)
    angles = [np.degrees(np.arctan2(part[1, 1], -part[0, 1])) - 90 for part in parts]
    assert -20.5 < min(angles) < -2
    assert 2 < max(angles) < 20.5
    assert {bool(np.linalg.det(part) < 0) for part in parts} == {False, True}


def test_scales_are_drawn_evenly_in_their_logarithm() -> None:
    settings = Augmentation((96, 128), 0.5, 2.0, 0.0, False, 0.0)
    random = np.random.default_rng(0)
    steps = [draw_transform(SIZE, settings, random).affine[0, 0] for _ in range(400)]
    drawn = -np.log2(steps)
    assert -1 <= drawn.min() < -0.95
    assert 0.95 < drawn.max() <= 1
    assert abs(np.mean(drawn)) < 0.1
    assert abs(np.mean(drawn < -0.5) - 0.25) < 0.08


def test_crop_lies_inside_where_there_is_room_and_all_is_seen_where_not() -> None:
    for seed in range(8):
        inside = augment_frame(coordinates(), PLAIN, np.random.default_rng(seed))
        assert (inside.labels != IGNORED).all()
        small = augment_frame(
            coordinates(), Augmentation((96, 128), 0.5, 0.5, 0.0, False, 0.0), np.random.default_rng(seed)
        )
        # Half of 120×160 is in the middle of 96×128, and nothing around it is labelled.
        rows, columns = (np.flatnonzero((small.labels != IGNORED).any(axis)) for axis in (1, 0))
        assert abs(len(rows) - 60) <= 1
        assert abs(len(columns) - 80) <= 1
        assert abs(rows.mean() - 47.5) <= 0.5
        assert abs(columns.mean() - 63.5) <= 0.5


def test_colours_change_alike_in_frame_and_keyframe() -> None:
    pair = scene()
    still = Pair(pair.image, pair.labels, pair.image, np.zeros((*SIZE, 2), np.float16), 1)
    settings = Augmentation((96, 128), 1.0, 1.0, 0.0, False, 0.3)
    means = []
    for seed in range(8):
        changed = augment(still, settings, np.random.default_rng(seed))
        np.testing.assert_array_equal(changed.image, changed.keyframe)
        plain = augment(still, PLAIN, np.random.default_rng(seed))
        np.testing.assert_array_equal(changed.labels, plain.labels)
        means.append(changed.image.mean() - plain.image.mean())
    assert min(means) < -8
    assert max(means) > 8


def test_frame_alone_is_changed_as_in_its_pair() -> None:
    pair, settings = scene(), CHANGES["all"]
    alone = augment_frame(LabelledFrame(pair.image, pair.labels), settings, np.random.default_rng(5))
    together = augment(pair, settings, np.random.default_rng(5))
    np.testing.assert_array_equal(alone.image, together.image)
    np.testing.assert_array_equal(alone.labels, together.labels)
