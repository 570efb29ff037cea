"""Pairs: what a real bitstream makes of a labelled frame and its keyframe."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from moving_scenes import discs, look_up, picture, pixels, write, write_dataset

from arseg_edge.datasets import IGNORED, open_dataset
from arseg_edge.datasets.encode import Encoding, encode_clip
from arseg_edge.errors import CodecError, DatasetError, UsageError
from arseg_edge.training.cache import PairSettings, make_pairs
from arseg_edge.training.pairs import Pair, list_items, make_pair

SIZE = (96, 128)
ENCODING = Encoding(interval=5, bit_rate=4_000_000)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip of six frames, in which everything moves by (-3, -0.5) pixels a frame; the last two are labelled."""
    return write_dataset(tmp_path_factory.mktemp("pairs") / "moving", clips=1, frames=6, size=SIZE)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("pairs") / "still", clips=1, frames=1, size=SIZE)


def pair_of(path: Path, number: int = -1, distance: int | None = None, encoding: Encoding = ENCODING) -> Pair:
    dataset = open_dataset(path)
    items = list_items(dataset, encoding.interval)
    return make_pair(dataset, items[number], encoding, np.random.default_rng(0), distance)


def warp_error(pair: Pair, motion: np.ndarray) -> float:
    """Mean difference of the frame and the keyframe warped by the motion, away from the border."""
    warped = look_up(pair.keyframe.astype(float), pixels(SIZE) + motion.astype(float))
    return float(np.abs(warped - pair.image)[16:-16, 16:-16].mean())


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libx265"])
def test_labelled_frame_is_the_last_one_and_motion_leads_to_the_keyframe(moving: Path, codec: str) -> None:
    pair = pair_of(moving, distance=4, encoding=replace(ENCODING, codec=codec))
    assert pair.distance == 4
    # Frame 5 is labelled, four frames before is frame 1; decoded, they are what was drawn but for the coding.
    for found, index in ((pair.image, 5), (pair.keyframe, 1)):
        drawn = picture(pixels(SIZE) + np.array([3.0, 0.5]) * index)
        assert np.abs(found.astype(int) - drawn).mean() < 6
    np.testing.assert_array_equal(pair.labels, discs(pixels(SIZE) + np.array([15.0, 2.5])))
    # What the frame shows stood twelve pixels further right in the keyframe.
    centre = pair.motion[16:-16, 16:-16].astype(float)
    np.testing.assert_allclose(np.median(centre, axis=(0, 1)), [12, 2], atol=0.5)
    assert warp_error(pair, pair.motion) < 0.4 * warp_error(pair, np.zeros_like(pair.motion))


def test_still_becomes_a_clip_that_ends_with_it(still: Path) -> None:
    errors = []
    for variant in range(4):
        dataset = open_dataset(still)
        (item,) = list_items(dataset, ENCODING.interval)
        pair = make_pair(dataset, item, ENCODING, np.random.default_rng(variant), distance=4)
        assert np.abs(pair.image.astype(int) - picture(pixels(SIZE))).mean() < 6
        np.testing.assert_array_equal(pair.labels, discs(pixels(SIZE)))
        assert np.abs(pair.keyframe.astype(int) - pair.image).mean() > 1
        errors.append(warp_error(pair, pair.motion) / warp_error(pair, np.zeros_like(pair.motion)))
    assert np.mean(errors) < 0.8


def test_still_can_be_any_frame_of_its_clip(still: Path) -> None:
    """Then labels move with what the frame shows."""
    dataset = open_dataset(still)
    (item,) = list_items(dataset, ENCODING.interval)
    drawn, labels = picture(pixels(SIZE)), discs(pixels(SIZE))
    keyframe_errors, errors, labels_stay = [], [], []
    for variant in range(12):
        pair = make_pair(dataset, item, ENCODING, np.random.default_rng(variant), distance=4, stills="anywhere")
        keyframe_errors.append(np.abs(pair.keyframe.astype(int) - drawn).mean())
        errors.append(np.abs(pair.image.astype(int) - drawn).mean())
        labels_stay.append(np.array_equal(pair.labels, labels))
        assert set(np.unique(pair.labels)) <= {0, 1, IGNORED}
    # Coding alone changes a frame by less than six levels.
    assert any(labels_stay)
    assert all(error < 6 for error, stay in zip(errors, labels_stay, strict=True) if stay)
    assert min(keyframe_errors) < 6 < max(keyframe_errors)
    assert max(errors) > 6


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Three stills of CamVid's layout; everything moves by (-9, -1.5) pixels from one to the next."""
    for number in range(3):
        places = pixels(SIZE) + np.array([9.0, 1.5]) * number
        write(tmp_path / f"drive/train/0001TP_{6690 + 30 * number:06d}.png", picture(places))
        write(tmp_path / f"drive/trainannot/0001TP_{6690 + 30 * number:06d}.png", discs(places).astype(np.uint8))
    return tmp_path / "drive"


def test_still_can_have_the_one_before_it_as_its_keyframe(drive: Path) -> None:
    dataset = open_dataset(drive)
    items = list_items(dataset, ENCODING.interval)
    for number in (1, 2):
        pair = make_pair(dataset, items[number], ENCODING, np.random.default_rng(number), neighbours=1)
        drawn = [picture(pixels(SIZE) + np.array([9.0, 1.5]) * at) for at in (number - 1, number)]
        assert np.abs(pair.keyframe.astype(int) - drawn[0]).mean() < 6
        assert np.abs(pair.image.astype(int) - drawn[1]).mean() < 6
        np.testing.assert_array_equal(pair.labels, discs(pixels(SIZE) + np.array([9.0, 1.5]) * number))
        np.testing.assert_allclose(np.median(pair.motion[16:-16, 16:-16], axis=(0, 1)), [9, 1.5], atol=0.5)
        assert warp_error(pair, pair.motion) < 0.4 * warp_error(pair, np.zeros_like(pair.motion))
    # The first one has none before it; nor has one whose neighbour is another part of the data.
    for part, item in ((dataset, items[0]), (replace(dataset, sequences=dataset.sequences[2:]), items[2])):
        made = make_pair(part, item, ENCODING, np.random.default_rng(0), neighbours=1)
        simulated = make_pair(part, item, ENCODING, np.random.default_rng(0))
        np.testing.assert_array_equal(made.keyframe, simulated.keyframe)


def test_stills_of_a_drive_of_different_sizes(drive: Path) -> None:
    places = pixels((90, 128))
    write(drive / "train/0001TP_006690.png", picture(places))
    write(drive / "trainannot/0001TP_006690.png", discs(places).astype(np.uint8))
    dataset = open_dataset(drive)
    item = list_items(dataset, ENCODING.interval)[1]
    with pytest.raises(DatasetError, match=r"006720\.png: labels a still of 96×128, but '0001TP_006690' .* has 90×128"):
        make_pair(dataset, item, ENCODING, np.random.default_rng(0), neighbours=1)


def test_how_often_the_keyframe_is_the_still_before(drive: Path) -> None:
    dataset = open_dataset(drive)
    item = list_items(dataset, ENCODING.interval)[2]
    before = picture(pixels(SIZE) + np.array([9.0, 1.5]))
    distances, real = set(), 0
    for variant in range(24):
        pair = make_pair(dataset, item, ENCODING, np.random.default_rng(variant), neighbours=0.5)
        if np.abs(pair.keyframe.astype(int) - before).mean() < 6:
            real += 1
            distances.add(pair.distance)
    assert 6 <= real <= 18
    assert distances == {2, 3, 4}


def test_distances_are_drawn_up_to_what_there_is(moving: Path, still: Path) -> None:
    for path, number, farthest in ((moving, 0, 4), (moving, 1, 4), (still, 0, 4)):
        dataset = open_dataset(path)
        item = list_items(dataset, 5)[number]
        random = np.random.default_rng(0)
        drawn = [make_pair(dataset, item, ENCODING, random).distance for _ in range(16)]
        assert set(drawn) == set(range(1, farthest + 1))


def test_frame_near_the_beginning_has_a_nearer_keyframe(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "data", clips=1, frames=6, size=SIZE)
    write(path / "labels/clip0/001.png", discs(pixels(SIZE)).astype(np.uint8))
    assert [pair_of(path, number, distance=4).distance for number in range(3)] == [1, 4, 4]


def test_frames_of_a_video(moving: Path, tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "video", clips=1, frames=6, size=SIZE)
    frames = [picture(pixels(SIZE) + np.array([3.0, 0.5]) * index) for index in range(6)]
    for image in (path / "clips/clip0").iterdir():
        image.unlink()
    (path / "clips/clip0").rmdir()
    encode_clip(frames, path / "clips/clip0.mp4", replace(ENCODING, bit_rate=20_000_000))
    found, expected = pair_of(path, distance=3), pair_of(moving, distance=3)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert np.abs(found.image.astype(int) - expected.image).mean() < 4
    assert np.abs(found.keyframe.astype(int) - expected.keyframe).mean() < 4


def test_odd_sizes_lose_their_last_row_and_column(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "odd", clips=1, frames=6, size=(97, 129))
    pair = pair_of(path, distance=2)
    assert pair.image.shape == pair.keyframe.shape == (96, 128, 3)
    np.testing.assert_array_equal(pair.labels, discs(pixels(SIZE) + np.array([15.0, 2.5])))


def test_cache_is_made_once_and_made_again_when_anything_changes(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "data", clips=2, frames=6, size=SIZE)
    settings = PairSettings(ENCODING, variants=2)
    told: list[tuple[int, int]] = []

    def made(settings: PairSettings = settings) -> Path:
        told.clear()
        return make_pairs(open_dataset(path), settings, tmp_path / "cache", 1, lambda *each: told.append(each)).folder

    folder = made()
    assert told == [(done, 8) for done in range(1, 9)]
    assert made() == folder
    assert not told
    # Taken up where it was stopped.
    files = sorted(folder.iterdir())
    before = files[3].read_bytes()
    files[3].unlink()
    assert made() == folder
    assert told == [(8, 8)]
    assert files[3].read_bytes() == before
    changed = [
        replace(settings, variants=1),
        replace(settings, distance=2),
        replace(settings, seed=1),
        replace(settings, stills="anywhere"),
        replace(settings, neighbours=0.5),
        replace(settings, encoding=replace(ENCODING, bit_rate=1_000_000)),
    ]
    assert len({folder, *(made(each) for each in changed)}) == 7
    label = path / "labels/clip0/005.png"
    os.utime(label, (1, 1))
    assert made() != folder


def test_cache_gives_back_what_make_pair_makes(moving: Path, tmp_path: Path) -> None:
    settings = PairSettings(ENCODING, variants=2, seed=3)
    dataset = open_dataset(moving)
    cache = make_pairs(dataset, settings, tmp_path, processes=2)
    assert len(cache) == 2
    for item, variant in ((0, 0), (1, 1)):
        random = np.random.default_rng((3, item, variant))
        expected = make_pair(dataset, list_items(dataset, 5)[item], ENCODING, random)
        found, alone = cache.read(item, variant), cache.read_frame(item, variant)
        for field in fields(Pair):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name))
        np.testing.assert_array_equal(alone.image, expected.image)
        np.testing.assert_array_equal(alone.labels, expected.labels)


def test_too_short_a_clip_names_the_label(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "data", clips=2, frames=6, size=SIZE)
    with pytest.raises(
        DatasetError, match=r"clip0/005\.png: labels frame 5 of 'clip0', with too few before it for .* 7"
    ):
        list_items(open_dataset(path), 7)
    assert len(list_items(open_dataset(path), 6)) == 4
    with pytest.raises(UsageError, match="interval 1"):
        list_items(open_dataset(path), 1)


def test_bad_labels_are_named(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "data", clips=1, frames=6, size=SIZE)
    label = path / "labels/clip0/005.png"
    write(label, np.full(SIZE, 9, np.uint8))
    with pytest.raises(DatasetError, match=r"clip0/005\.png: label value 9"):
        pair_of(path)
    # Changed since the data set was opened, when sizes are compared.
    write(label, np.zeros(SIZE, np.uint8))
    dataset = open_dataset(path)
    write(label, np.zeros((90, 128), np.uint8))
    with pytest.raises(DatasetError, match=r"clip0/005\.png: labels of 90×128 for a frame of 96×128"):
        make_pair(dataset, list_items(dataset, 5)[-1], ENCODING, np.random.default_rng(0))


def test_unknown_encoder() -> None:
    with pytest.raises(CodecError, match="libx999"):
        Encoding(codec="libx999")
