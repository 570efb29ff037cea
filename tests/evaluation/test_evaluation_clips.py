"""Sequences as decoded frames at every alignment: pictures that are encoded, stills, and videos."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import STREET, street_clip
from labelled_street import write_png
from numpy.typing import NDArray

from arseg_edge.datasets import LabelledSequence
from arseg_edge.datasets.encode import Encoding
from arseg_edge.errors import DatasetError
from arseg_edge.evaluation.clips import Clip, check_length, open_clip
from arseg_edge.runtime import read_motion
from arseg_edge.runtime.read_motion import MotionFrame

INTERVAL = 4
ENCODING = Encoding(bit_rate=2_000_000, interval=INTERVAL, frame_rate=Fraction(24))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten frames of the street, a quarter of their area."""
    folder = tmp_path_factory.mktemp("pictures")
    return [
        write_png(folder / f"{frame.index}.png", frame.rgb[90:270, 120:360])
        for frame in islice(read_motion(STREET), 10)
    ]


def sequence_of(frames: tuple[Path, ...] | Path, *labelled: int) -> LabelledSequence:
    # Nothing here reads a label.
    return LabelledSequence("street", frames, {index: Path(f"{index}.png") for index in labelled}, Fraction(24))


def read(clip: Clip, shift: int) -> list[tuple[int, MotionFrame]]:
    return [(index, frame) for index, frame, _ in clip.frames(shift, "subpixel")]


def image(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(path))[..., ::-1], np.uint8)


@pytest.mark.parametrize("shift", [0, 1, 3])
def test_pictures_are_encoded_with_a_keyframe_at_the_shift(pictures: list[Path], shift: int) -> None:
    found = read(open_clip(sequence_of(tuple(pictures), 5), ENCODING), shift)
    assert [index for index, _ in found] == list(range(shift, 10))
    assert [frame.distance for _, frame in found] == [(index - shift) % INTERVAL for index, _ in found]
    for index, frame in found:
        assert frame.is_keyframe == (frame.decoded.picture_type == "I") == (frame.distance == 0)
        assert frame.motion_source == (None if frame.is_keyframe else "bitstream")
        assert cv2.PSNR(frame.rgb, image(pictures[index])) > 27
        # Frames differ by more than the coding does: it is this one and no other.
        others = [cv2.PSNR(frame.rgb, image(other)) for place, other in enumerate(pictures) if place != index]
        assert cv2.PSNR(frame.rgb, image(pictures[index])) > max(others)


def test_a_still_is_the_last_frame_of_a_clip_of_its_own(pictures: list[Path]) -> None:
    clip = open_clip(sequence_of((pictures[0],), 0), ENCODING)
    assert (clip.simulated, dict(clip.labels)) == (True, {INTERVAL - 1: Path("0.png")})
    for shift in range(INTERVAL):
        index, frame = read(clip, shift)[-1]
        assert (index, frame.distance) == (INTERVAL - 1, INTERVAL - 1 - shift)
        assert cv2.PSNR(frame.rgb, image(pictures[0])) > 27
    again = open_clip(sequence_of((pictures[0],), 0), ENCODING)
    assert all((one == other).all() for one, other in zip(clip.content, again.content, strict=True))


def test_a_video_is_used_as_it_is(tmp_path: Path) -> None:
    video = street_clip(tmp_path / "street.mp4", 18)  # an I-frame at 12
    clip = open_clip(sequence_of(video, 5), Encoding(interval=5))
    for shift in range(5):
        found = read(clip, shift)
        assert [index for index, _ in found] == list(range(shift, 18))
        expected = [(index - shift) % 5 if index < 12 else (index - 12) % 5 for index in range(shift, 18)]
        assert [frame.distance for _, frame in found] == expected
    whole = list(read_motion(video))
    assert all((frame.rgb == whole[index].rgb).all() for index, frame in found)


def test_too_short(tmp_path: Path) -> None:
    check_length("street", 12, 12)
    with pytest.raises(DatasetError, match="sequence street: 11 frames are fewer than the interval of 12"):
        check_length("street", 11, 12)
    clip = open_clip(sequence_of(street_clip(tmp_path / "short.mp4", 3), 1), ENCODING)
    with pytest.raises(DatasetError, match="sequence street: 3 frames"):
        read(clip, 0)


def test_a_label_beyond_the_end_of_the_video(tmp_path: Path) -> None:
    clip = open_clip(sequence_of(street_clip(tmp_path / "street.mp4", 5), 9), ENCODING)
    with pytest.raises(DatasetError, match=r"9\.png: labels frame 9"):
        read(clip, 0)
