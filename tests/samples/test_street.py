"""The sample street: video and labels belong together and can be drawn again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.frame import PictureType

SAMPLES = Path(__file__).parents[2] / "samples"
FRAMES, HEIGHT, WIDTH = 96, 360, 480


@pytest.fixture(scope="module")
def labels() -> npt.NDArray[np.uint8]:
    with np.load(SAMPLES / "street-labels.npz") as archive:
        return np.asarray(archive["labels"])


@pytest.fixture
def draw_street(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Import the script as a person would who stands in its folder."""
    monkeypatch.syspath_prepend(str(SAMPLES))
    import draw_street as module

    yield module
    for name in list(sys.modules):
        if name.split(".")[0] in ("draw_street", "street"):
            del sys.modules[name]


def test_labels_are_of_every_class(labels: npt.NDArray[np.uint8]) -> None:
    assert labels.shape == (FRAMES, HEIGHT, WIDTH)
    assert labels.dtype == np.uint8
    present = [set(np.unique(frame).tolist()) for frame in labels]
    assert set.union(*present) == set(range(11))
    # road, sky and houses never leave the picture, and most frames show nearly everything
    assert all({0, 1, 3} <= classes for classes in present)
    assert np.mean([len(classes) for classes in present]) > 10


def test_drawing_again_gives_the_same_labels(labels: npt.NDArray[np.uint8], draw_street: ModuleType) -> None:
    drawn = list(islice(draw_street.draw_street(), 3))
    np.testing.assert_array_equal([frame_labels for _, frame_labels in drawn], labels[:3])


def test_the_video_shows_what_is_drawn(draw_street: ModuleType) -> None:
    with av.open(str(SAMPLES / "street.mp4")) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), 3)]
    for (rgb, _), decoded in zip(draw_street.draw_street(), shown, strict=False):
        error = np.mean((rgb.astype(float) - decoded) ** 2)
        assert 10 * np.log10(255**2 / error) > 30  # dB


def test_the_video_has_the_labels_frames_and_times(labels: npt.NDArray[np.uint8]) -> None:
    with av.open(str(SAMPLES / "street.mp4")) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert len(container.streams) == 1
        assert stream.average_rate == 24
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert not stream.codec_context.has_b_frames
    assert len(frames) == len(labels)
    assert {(frame.height, frame.width) for frame in frames} == {(HEIGHT, WIDTH)}
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(i, 24) for i in range(FRAMES)]


def test_motion_vectors_point_one_frame_back() -> None:
    with av.open(str(SAMPLES / "street.mp4")) as container:
        stream = container.streams.video[0]
        stream.codec_context.flags2 |= 1 << 28  # AV_CODEC_FLAG2_EXPORT_MVS
        for index, frame in enumerate(container.decode(stream)):
            vectors = frame.side_data.get("MOTION_VECTORS")
            if index % 12 == 0:
                assert frame.pict_type == PictureType.I
                assert vectors is None
            else:
                assert frame.pict_type == PictureType.P
                fields = vectors.to_ndarray()
                area = np.sum(fields["w"].astype(int) * fields["h"])
                assert area > 0.8 * HEIGHT * WIDTH
                assert set(fields["source"].tolist()) == {-1}
                # the camera drives forward: the picture moves
                assert np.mean((fields["motion_x"] != 0) | (fields["motion_y"] != 0)) > 0.3


def test_other_seeds_are_other_streets_of_any_size(draw_street: ModuleType) -> None:
    pictures = []
    for seed in (0, 1):
        rgb, frame_labels = next(draw_street.draw_street(seed, frames=8, size=(120, 160)))
        assert (rgb.shape, rgb.dtype) == ((120, 160, 3), np.uint8)
        assert (frame_labels.shape, frame_labels.dtype) == ((120, 160), np.uint8)
        pictures.append(frame_labels)
    assert np.mean(pictures[0] != pictures[1]) > 0.05


def test_the_script_writes_both_files(tmp_path: Path, draw_street: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["--seed=5", "--frames=3", "--height=90", "--width=120", f"--output={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["draw_street.py", *arguments])
    draw_street.main()
    with np.load(tmp_path / "street-labels.npz") as archive:
        assert archive["labels"].shape == (3, 90, 120)
    with av.open(str(tmp_path / "street.mp4")) as container:
        assert len(list(container.decode(video=0))) == 3
