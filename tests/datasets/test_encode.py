"""Encoding: what a decoder finds in the stream."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from numpy.typing import NDArray

from arseg_edge.datasets.encode import Encoding, encode_clip
from arseg_edge.errors import CodecError, OutputError, UsageError
from arseg_edge.runtime.source.open_source import open_source

SIZE = (64, 96)
ENCODING = Encoding(bit_rate=4_000_000, interval=5, frame_rate=Fraction(25))


def frames(count: int = 12) -> list[NDArray[np.uint8]]:
    """Waves of all colours that move, and a cut in the seventh frame, where an encoder likes an intra frame."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    phases = [0.7 * index + (40 if index >= 7 else 0) for index in range(count)]
    return [
        np.stack([127 + 90 * np.sin((x + y) / 17 + phase + turn) for turn in (0, 2, 4)], axis=-1).astype(np.uint8)
        for phase in phases
    ]


@pytest.fixture(params=["libx264", "libx265", "mpeg4"])
def encoding(request: pytest.FixtureRequest) -> Encoding:
    return replace(ENCODING, codec=request.param)


def pictures(path: Path) -> list[tuple[str, bool]]:
    """Return the type of each decoded frame, and whether it is a keyframe."""
    with av.open(str(path)) as container:
        return [(PictureType(frame.pict_type).name, bool(frame.key_frame)) for frame in container.decode(video=0)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_keyframes_come_at_the_interval_and_nowhere_else(encoding: Encoding, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip{suffix}"
    encode_clip(frames(), path, encoding)
    found = pictures(path)
    assert [kind for kind, _ in found] == ["I" if index % 5 == 0 else "P" for index in range(12)]
    assert [key for _, key in found] == [index % 5 == 0 for index in range(12)]


def test_frames_come_back_in_order_at_their_rate_and_in_their_colours(encoding: Encoding, tmp_path: Path) -> None:
    path, sent = tmp_path / "clip.mp4", frames()
    encode_clip(iter(sent), path, encoding)
    with open_source(path) as source:
        assert source.frame_rate == 25
        decoded = list(source.frames())
    assert len(decoded) == 12
    for index, (frame, expected) in enumerate(zip(decoded, sent, strict=True)):
        assert frame.rgb.shape == (*SIZE, 3)
        difference = frame.rgb.astype(int) - expected
        assert np.abs(difference).mean() < 5, index
        # No cast of colour, as with another matrix or range.
        assert np.abs(difference.mean(axis=(0, 1))).max() < 2, index


def test_colours_of_large_areas_are_exact_to_the_coding(tmp_path: Path) -> None:
    patches = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [200, 120, 40]], np.uint8)
    picture = np.repeat(np.repeat(patches.reshape(2, 3, 3), 32, axis=0), 32, axis=1)
    encode_clip([picture] * 3, tmp_path / "clip.mkv", ENCODING)
    with open_source(tmp_path / "clip.mkv") as source:
        found = next(iter(source.frames())).rgb
    centres = found[16::32, 16::32].reshape(-1, 3).astype(int)
    assert np.abs(centres - patches).max() <= 5


def test_stream_says_what_its_colours_are(tmp_path: Path) -> None:
    encode_clip(frames(2), tmp_path / "clip.mp4", ENCODING)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        codec = container.streams.video[0].codec_context
        # BT.601 (SMPTE 170M is number 6), limited range (1): ITU-T H.273.
        assert (codec.color_primaries, codec.color_trc, codec.colorspace, codec.color_range) == (6, 6, 6, 1)


def test_more_bits_come_nearer(tmp_path: Path) -> None:
    errors, sizes = [], []
    noisy = [np.random.default_rng(index).integers(0, 256, (*SIZE, 3), np.uint8) for index in range(12)]
    for bit_rate in (100_000, 1_000_000, 8_000_000):
        path = tmp_path / f"{bit_rate}.mkv"
        encode_clip(noisy, path, replace(ENCODING, bit_rate=bit_rate))
        sizes.append(path.stat().st_size)
        with open_source(path) as source:
            errors.append(
                np.mean([np.abs(f.rgb.astype(int) - e).mean() for f, e in zip(source.frames(), noisy, strict=True)])
            )
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)


def test_each_frame_refers_to_the_one_before_alone(tmp_path: Path) -> None:
    """A picture that comes back after another one is not found again: every vector points one frame back."""
    texture = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
    one = np.kron(texture, np.ones((8, 8, 1), np.uint8))
    flat = np.full_like(one, 128)
    sizes = []
    encode_clip([one, flat, one], tmp_path / "clip.mkv", replace(ENCODING, interval=12))
    with av.open(str(tmp_path / "clip.mkv")) as container:
        sizes = [packet.size for packet in container.demux(video=0) if packet.size]
    # With two references the third frame would be a copy of the first, a few bytes.
    assert sizes[2] > 0.3 * sizes[0]


@pytest.mark.parametrize(
    ("pictures", "complaint"),
    [
        ([], "no frame to encode"),
        ([np.zeros((63, 96, 3), np.uint8)], "frames of 63×96: 4:2:0 video needs an even height and width"),
        ([*frames(2), np.zeros((32, 96, 3), np.uint8)], "frame 2 is 32×96, the ones before 64×96"),
    ],
)
def test_frames_that_do_not_fit(pictures: list[NDArray[np.uint8]], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=complaint):
        encode_clip(pictures, tmp_path / "clip.mkv", ENCODING)


@pytest.mark.parametrize("codec", ["gif", "mjpeg"])
def test_encoder_that_does_not_fit(codec: str, tmp_path: Path) -> None:
    with pytest.raises(CodecError, match=f"{codec} does not encode this .*choose libx264") as raised:
        encode_clip(frames(2), tmp_path / "clip.mkv", replace(ENCODING, codec=codec))
    assert "\n" not in str(raised.value)


def test_path_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no such folder"):
        encode_clip(frames(2), tmp_path / "nowhere" / "clip.mkv", ENCODING)
    with pytest.raises(OutputError, match=r"no container has the suffix '\.qqq'"):
        encode_clip(frames(2), tmp_path / "clip.qqq", ENCODING)


@pytest.mark.parametrize(
    ("changes", "kind", "complaint"),
    [
        ({"bit_rate": 10}, UsageError, "bit rate 10"),
        ({"interval": 0}, UsageError, "interval 0"),
        ({"frame_rate": Fraction(0)}, UsageError, "frame rate 0"),
        ({"codec": "libx999"}, CodecError, "no video encoder 'libx999'"),
        ({"codec": "aac"}, CodecError, "no video encoder 'aac'"),
    ],
)
def test_encodings_that_make_no_sense(changes: dict[str, object], kind: type[Exception], complaint: str) -> None:
    with pytest.raises(kind, match=complaint):
        replace(ENCODING, **changes)  # type: ignore[arg-type]
