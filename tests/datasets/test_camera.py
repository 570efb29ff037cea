"""The simulated camera: what it must keep, and that it moves as cameras on roads do."""

from __future__ import annotations

import doctest

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from arseg_edge.datasets import IGNORED, camera
from arseg_edge.datasets.camera import simulate_clip
from arseg_edge.errors import UsageError

SIZE = (120, 160)
LENGTH = 12
SEEDS = range(8)


@pytest.fixture(scope="module")
def still() -> NDArray[np.uint8]:
    """Texture of all sizes."""
    random = np.random.default_rng(0)
    layers = [
        cv2.resize(random.normal(0, 30, (side, side, 3)).astype(np.float32), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        for side in (4, 12, 36)
    ]
    return np.clip(128 + sum(layers), 0, 255).astype(np.uint8)


def clip_of(still: NDArray[np.uint8], seed: int, length: int = LENGTH) -> list[NDArray[np.uint8]]:
    return simulate_clip(still, length, np.random.default_rng(seed)).frames


def flow(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return where the pixels of ``one`` are in ``other``, as optical flow sees it."""
    grey = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (one, other)]
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(estimator.calc(*grey, None)).reshape(*SIZE, 2)  # type: ignore[call-overload]


def test_the_example_runs() -> None:
    outcome = doctest.testmod(camera)
    assert (outcome.attempted > 0, outcome.failed) == (True, 0)


@pytest.mark.parametrize("length", [1, 2, 12])
def test_last_frame_is_the_still_and_all_are_alike(still: NDArray[np.uint8], length: int) -> None:
    clip = clip_of(still, 0, length)
    assert len(clip) == length
    assert {(frame.shape, frame.dtype.name) for frame in clip} == {((*SIZE, 3), "uint8")}
    np.testing.assert_array_equal(clip[-1], still)


def test_same_seed_same_clip_another_seed_another(still: NDArray[np.uint8]) -> None:
    one, same, other = (clip_of(still, seed) for seed in (0, 0, 1))
    for first, second in zip(one, same, strict=True):
        np.testing.assert_array_equal(first, second)
    assert np.abs(one[0].astype(int) - other[0]).mean() > 2


def test_the_still_itself_is_not_changed(still: NDArray[np.uint8]) -> None:
    before = still.copy()
    clip_of(still, 0)
    np.testing.assert_array_equal(still, before)


@pytest.mark.parametrize("seed", SEEDS)
def test_frames_differ_more_the_further_back_they_are(still: NDArray[np.uint8], seed: int) -> None:
    errors = [np.abs(frame.astype(int) - still).mean() for frame in clip_of(still, seed)[:-1]]
    assert errors[0] > errors[5] > errors[-1] > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_frames_show_the_same_thing_from_elsewhere(still: NDArray[np.uint8], seed: int) -> None:
    """Warped back by optical flow, which knows nothing of the simulation, a frame is the still again."""
    before = clip_of(still, seed)[-3]
    x, y = np.meshgrid(np.arange(SIZE[1], dtype=np.float32), np.arange(SIZE[0], dtype=np.float32))
    found = flow(still, before)
    warped = cv2.remap(before, x + found[..., 0], y + found[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inner = np.s_[12:-12, 12:-12]
    moved, back = (np.abs(each.astype(int) - still)[inner].mean() for each in (before, warped))
    assert back < max(0.7 * moved, 3)


def test_motion_is_that_of_a_road(still: NDArray[np.uint8]) -> None:
    """Over many clips: near things (below) move more than those at the horizon, and not all in one way."""
    motions = np.array([flow(still, clip_of(still, seed)[-2]) for seed in range(24)])
    speed = np.hypot(motions[..., 0], motions[..., 1]).mean(axis=0)
    assert speed[100:115].mean() > 1.2 * speed[45:60].mean()
    means = motions[:, 20:-20, 20:-20].mean(axis=(1, 2))
    assert means[:, 0].min() < 0 < means[:, 0].max()
    # Hardly any clip is a mere shift.
    assert np.mean(motions[:, 20:-20, 20:-20].std(axis=(1, 2)).max(axis=1) > 0.15) > 0.8
    assert 0.3 < speed.mean() < 0.05 * SIZE[1]


def test_exposure_drifts_and_every_frame_has_its_own_noise() -> None:
    grey = np.full((*SIZE, 3), 120, np.uint8)
    clips = np.array([clip_of(grey, seed) for seed in range(12)], np.float64)
    levels = clips.mean(axis=(2, 3, 4))
    drift = levels[:, 0] - 120
    assert drift.min() < -1
    assert drift.max() > 1
    assert np.abs(drift).max() < 25
    # Evenly from frame to frame, to none in the last.
    assert np.abs(np.diff(levels, axis=1)).max() < 3
    noise = clips[:, :-1].std(axis=(2, 3)).mean(axis=(1, 2))
    assert noise.max() > 1
    assert noise.max() < 3
    noisiest = clips[noise.argmax()]
    ones, others = ((noisiest[index] - noisiest[index].mean()).ravel() for index in (0, 1))
    assert abs(np.corrcoef(ones, others)[0, 1]) < 0.1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("still_at", [0, 4, LENGTH - 1])
def test_labels_move_with_what_the_last_frame_shows(still_at: int, seed: int) -> None:
    """Grey levels, told from one another through the same camera, are found again in its labels."""
    labels = np.kron(np.random.default_rng(1).integers(0, 6, (6, 8), np.uint8), np.ones((20, 20), np.uint8))
    assert labels.shape == SIZE
    picture = np.repeat(40 * labels[..., None], 3, axis=2)
    clip = simulate_clip(picture, LENGTH, np.random.default_rng(seed), still_at)
    found = clip.labels(labels)
    outside = found == IGNORED
    # The exposure has drifted, and along the borders of two levels something between them is shown.
    shown, expected = clip.frames[-1].mean(axis=2)[~outside], 40 * found[~outside].astype(float)
    gain = np.median(shown[expected > 0] / expected[expected > 0])
    assert np.mean(np.abs(shown - gain * expected) < 10) > 0.9
    assert not outside.any() or still_at < LENGTH - 1
    assert outside.mean() < 0.4


@pytest.mark.parametrize("still_at", [0, 4, 11])
def test_the_still_can_be_any_frame(still: NDArray[np.uint8], still_at: int) -> None:
    clip = simulate_clip(still, LENGTH, np.random.default_rng(0), still_at)
    same = [bool((frame == still).all()) for frame in clip.frames]
    assert same == [index == still_at for index in range(LENGTH)]
    # It is the same drive, begun later or earlier.
    assert np.abs(flow(clip.frames[2], clip.frames[1])).mean() > 0.05
    x, y = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
    unmoved = np.allclose(clip.origin, np.stack([x, y], axis=-1))
    assert unmoved == (still_at == LENGTH - 1)


@pytest.mark.parametrize("still_at", [-1, 12])
def test_the_still_must_be_in_the_clip(still: NDArray[np.uint8], still_at: int) -> None:
    with pytest.raises(UsageError, match=f"still at {still_at}: a clip of 12 frames has 0 to 11"):
        simulate_clip(still, LENGTH, np.random.default_rng(0), still_at)


def test_no_frame_is_no_clip(still: NDArray[np.uint8]) -> None:
    with pytest.raises(UsageError, match="a clip of 0 frames"):
        clip_of(still, 0, 0)
