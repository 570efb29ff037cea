"""Things that pass: what is cut out, and that pictures and labels show the same."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from arseg_edge.datasets import IGNORED
from arseg_edge.datasets.passing import Thing, cut_out, let_pass

SIZE = (120, 160)
COLOURS = np.array([[60, 60, 60], [250, 0, 0], [0, 250, 0]], np.uint8)


@pytest.fixture
def labels() -> NDArray[np.uint8]:
    """A ground with two things of class 1 and one of class 2, and much that is none."""
    labels = np.zeros(SIZE, np.uint8)
    labels[20:40, 30:50] = 1
    labels[80:95, 100:130] = 1
    labels[60:80, 60:72] = 2
    labels[100:120, 20:40] = 2  # touches the border
    labels[5:8, 60:63] = 2  # too small
    for step in range(100):
        labels[10 + step, 135 + step // 5] = 2  # large enough, but a line across its box
    labels[50:110, 80:98] = IGNORED
    return labels


def test_whole_pieces_of_one_class_are_cut_out(labels: NDArray[np.uint8]) -> None:
    found = [cut_out(COLOURS[labels % 3], labels, np.random.default_rng(seed)) for seed in range(32)]
    things = [each for each in found if each is not None]
    assert len(things) == len(found)
    centres = {1: {(39.5, 29.5), (114.5, 87.0)}, 2: {(65.5, 69.5)}}
    for label, expected in centres.items():
        assert {thing.centre for thing in things if thing.label == label} == expected
    assert {thing.label for thing in things} == set(centres)
    for thing in things:
        assert thing.cover.shape == thing.image.shape[:2]
        inside = thing.cover == 1
        assert inside[1:-1, 1:-1].all()
        assert thing.cover.sum() == inside[1:-1, 1:-1].size
        np.testing.assert_array_equal(np.unique(thing.image[inside], axis=0), COLOURS[[thing.label]])


def test_where_nothing_can_be_cut_out_nothing_is() -> None:
    random = np.random.default_rng(0)
    picture = np.zeros((*SIZE, 3), np.uint8)
    halves = np.zeros(SIZE, np.uint8)
    halves[:, 80:] = 1
    for labels in (halves, np.full(SIZE, IGNORED, np.uint8)):
        assert cut_out(picture, labels, random) is None


@pytest.fixture
def thing() -> Thing:
    """A red square of sixteen pixels."""
    cover = np.zeros((18, 18), np.float32)
    cover[1:-1, 1:-1] = 1
    return Thing(np.broadcast_to(COLOURS[1], (18, 18, 3)).copy(), cover, 1, (80.0, 60.0))


@pytest.mark.parametrize("seed", range(8))
def test_labels_are_those_of_what_the_last_frame_shows(thing: Thing, seed: int) -> None:
    ground = np.broadcast_to(COLOURS[0], (*SIZE, 3))
    frames, labels = let_pass([ground] * 6, np.zeros(SIZE, np.uint8), [thing], np.random.default_rng(seed))
    assert len(frames) == 6
    redness = (frames[-1][..., 0].astype(float) - 60) / 190
    np.testing.assert_array_equal(labels[redness > 0.6], 1)
    np.testing.assert_array_equal(labels[redness < 0.4], 0)
    # Half of it may be outside; its size changes by less than a third to each side.
    assert 8 * 16 * 0.6 < labels.sum() < 16 * 16 * 1.75
    row = np.argwhere(labels)[:, 0].mean()
    assert abs(row - 60) < 0.1 * SIZE[0] + 1


def test_things_move_evenly_and_each_in_its_own_way(thing: Thing) -> None:
    ground = np.broadcast_to(COLOURS[0], (*SIZE, 3))
    columns = []
    for seed in range(24):
        frames, _ = let_pass([ground] * 6, np.zeros(SIZE, np.uint8), [thing], np.random.default_rng(seed))
        weights = np.array([frame[..., 0].astype(float) - 60 for frame in frames])
        touches = weights[:, :, [0, -1]].any()
        if not touches:
            columns.append((weights.sum(1) @ np.arange(SIZE[1])) / weights.sum((1, 2)))
    steps = np.diff(columns, axis=1)
    assert len(steps) > 8
    np.testing.assert_allclose(steps, np.broadcast_to(steps.mean(1, keepdims=True), steps.shape), atol=0.3)
    assert steps.mean(1).std() > 0.5


def test_later_things_are_in_front_and_nothing_given_is_changed(thing: Thing) -> None:
    ground, labels = np.full((*SIZE, 3), 60, np.uint8), np.zeros(SIZE, np.uint8)
    green = Thing(np.broadcast_to(COLOURS[2], thing.image.shape).copy(), thing.cover, 2, thing.centre)
    frames, found = let_pass([ground], labels, [thing] * 40 + [green], np.random.default_rng(0))
    assert (found == 2).sum() > 100
    # Half green and half what is behind it, at the border.
    green_level = frames[0][..., 1]
    assert (green_level[found == 2] > 120).all()
    assert (found[green_level > 160] == 2).all()
    assert (ground == 60).all()
    assert not labels.any()


def test_nothing_passes_where_there_is_nothing() -> None:
    ground, labels = np.full((*SIZE, 3), 60, np.uint8), np.zeros(SIZE, np.uint8)
    frames, found = let_pass([ground, ground], labels, [], np.random.default_rng(0))
    assert all(frame is ground for frame in frames)
    np.testing.assert_array_equal(found, labels)
