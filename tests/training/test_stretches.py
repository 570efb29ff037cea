"""Pairs out of videos as they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from moving_scenes import picture, pixels

from arseg_edge.datasets.encode import Encoding, encode_clip
from arseg_edge.errors import DatasetError, SourceError
from arseg_edge.runtime import read_motion
from arseg_edge.runtime.source.open_source import open_source
from arseg_edge.training.stretches import StretchSettings, VideoPairs, make_stretches

SIZE = (64, 96)
SPEED = np.array([2.0, 1.0])
"""Pixels a frame by which the camera goes on."""
SETTINGS = StretchSettings(interval=4, variants=2)


def scene(index: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return picture(pixels(SIZE) + SPEED * index, seed)


def encoded(path: Path, frames: Sequence[npt.NDArray[np.uint8]], intra_every: int = 250) -> Path:
    encode_clip(frames, path, Encoding("libx264", 3_000_000, intra_every, Fraction(25)))
    return path


def made(video: Path, folder: Path, **changes: Any) -> VideoPairs:
    (pairs,) = make_stretches([video], replace(SETTINGS, **changes), folder)
    return pairs


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoded(tmp_path_factory.mktemp("video") / "drive.mp4", [scene(index) for index in range(18)])


def test_pairs_are_what_a_device_sees(video: Path, tmp_path: Path) -> None:
    pairs = made(video, tmp_path)
    assert pairs.frames == 18
    with open_source(video) as source:
        decoded = [frame.rgb for frame in source.frames()]
    device = [frame for frame in read_motion(video, interval=4) if not frame.is_keyframe]
    met = 0
    for item, (first, last) in enumerate(pairs.stretches):
        distances = set()
        for variant in range(2):
            pair = pairs.all.read(item, variant)
            distances.add(pair.distance)
            assert 1 <= pair.distance <= last - first <= 3
            np.testing.assert_array_equal(pair.keyframe, decoded[first])
            np.testing.assert_array_equal(pair.image, decoded[first + pair.distance])
            assert (pair.labels == 255).all()
            # What stands at x stood at x + motion in the keyframe: the camera has gone on since.
            inside = np.s_[16:-16, 16:-16]
            np.testing.assert_allclose(pair.motion[inside].mean((0, 1)), SPEED * pair.distance, atol=0.3)
            for frame in device:
                if first % 4 == 0 and frame.index == first + pair.distance:
                    met += 1
                    np.testing.assert_array_equal(pair.motion, frame.motion.astype(np.float16))  # type: ignore[union-attr]
        assert len(distances) == min(2, last - first), "variants are different frames"
    assert met >= 8


def test_keyframes_come_at_every_alignment_and_in_order(video: Path, tmp_path: Path) -> None:
    stretches = made(video, tmp_path).stretches
    # The device's own has what is left at the end, too; the shifted ones have whole stretches alone.
    assert stretches == tuple(sorted([*((first, first + 3) for first in range(15)), (16, 17)]))


def test_video_is_read_once(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    (first,) = make_stretches([video], SETTINGS, tmp_path, progress=lambda *each: told.append(each))
    assert told == [(1, 1)]
    assert {path.name for path in tmp_path.iterdir()} == {first.folder.name}
    monkeypatch.setattr("arseg_edge.training.stretches.open_source", None)
    assert made(video, tmp_path) == first
    monkeypatch.undo()
    assert made(video, tmp_path, seed=1).folder != first.folder


def test_what_a_killed_run_left_is_removed(video: Path, tmp_path: Path) -> None:
    folder = made(video, tmp_path).folder
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, others = (tmp_path / f"{folder.name}.{process}" for process in (ended.pid, os.getppid()))
    shutil.copytree(folder, left)
    shutil.copytree(folder, others)
    shutil.rmtree(folder)
    assert made(video, tmp_path).folder == folder
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, others.name}


def test_most_stretches_are_kept_evenly(video: Path, tmp_path: Path) -> None:
    everything = made(video, tmp_path).stretches
    counts: dict[tuple[int, int], int] = {}
    for seed in range(60):
        pairs = made(video, tmp_path / str(seed), seed=seed, stretches=4, variants=1)
        assert len(pairs.stretches) == len(set(pairs.stretches)) == 4
        assert list(pairs.stretches) == sorted(pairs.stretches)
        for item, stretch in enumerate(pairs.stretches):
            counts[stretch] = counts.get(stretch, 0) + 1
            keyframe = pairs.all.read(item, 0).keyframe
            if seed < 5:
                with open_source(video) as source:
                    decoded = [frame.rgb for frame in source.frames()]
                np.testing.assert_array_equal(keyframe, decoded[stretch[0]])
    # 60 draws of 4 in 16: 15 times each on average, with a deviation of 3.4.
    assert counts.keys() == set(everything)
    assert max(counts.values()) <= 29


def test_after_an_intra_frame_alignments_begin_anew(tmp_path: Path) -> None:
    video = encoded(tmp_path / "drive.mp4", [scene(index) for index in range(14)], intra_every=7)
    keyframes = [first for first, _ in made(video, tmp_path / "pairs").stretches]
    assert len(keyframes) == len(set(keyframes)), "none is met twice"
    for first, last in made(video, tmp_path / "pairs").stretches:
        assert last < 7 or first >= 7, "an intra frame ends all stretches"
    # Frames 0 and 4 by the device, up to 3 by shifts; after the intra frame likewise.
    assert keyframes == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]


def test_last_tenth_is_held_back_without_a_frame_in_both(tmp_path: Path) -> None:
    video = encoded(tmp_path / "drive.mp4", [scene(index) for index in range(40)])
    pairs = made(video, tmp_path / "pairs", variants=1)
    left, held = pairs.part_off()
    assert len(held) == round(len(pairs.stretches) / 10)
    with open_source(video) as source:
        decoded = {frame.rgb.tobytes(): frame.index for frame in source.frames()}

    def seen(cache: Any) -> set[int]:
        read = [cache.read(item, 0) for item in range(len(cache))]
        return {decoded[each.tobytes()] for pair in read for each in (pair.image, pair.keyframe)}

    assert max(seen(left)) < min(seen(held))


def test_fixed_distance(video: Path, tmp_path: Path) -> None:
    pairs = made(video, tmp_path, distance=2)
    distances = [pairs.all.read(item, 1).distance for item in range(len(pairs.stretches))]
    assert distances == [2] * 15 + [1]


def test_videos_by_several_processes_are_the_same(video: Path, tmp_path: Path) -> None:
    other = encoded(tmp_path / "other.mkv", [scene(index, seed=1) for index in range(9)])
    together = make_stretches([video, other], SETTINGS, tmp_path / "two", processes=2)
    for each in together:
        alone = made(each.video, tmp_path / "one")
        assert (alone.stretches, alone.folder.name) == (each.stretches, each.folder.name)
        for path in alone.folder.glob("*.npz"):
            assert path.read_bytes() == (each.folder / path.name).read_bytes()


def test_videos_that_are_of_no_use(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, *SIZE, 3)).astype(np.uint8)
    cache = tmp_path / "pairs"
    with pytest.raises(
        DatasetError, match=r"one\.mp4: too short, with 1 frame, for a keyframe and one after it: leave"
    ):
        made(encoded(tmp_path / "one.mp4", [scene(0)]), cache)
    with pytest.raises(DatasetError, match=r"noise\.mp4: each of its 8 frames is a keyframe, without motion to learn"):
        made(encoded(tmp_path / "noise.mp4", list(noise)), cache)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(SourceError, match=r"text\.mp4: "):
        made(tmp_path / "text.mp4", cache)
    assert list(cache.iterdir()) == [], "nothing half-made is left"
    short = made(encoded(tmp_path / "short.mp4", [scene(index) for index in range(5)]), cache)
    with pytest.raises(DatasetError, match=r"short\.mp4: it is too short, with 5 frames, to hold some back"):
        short.part_off()
