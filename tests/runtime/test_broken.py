"""Broken and odd streams: whatever can be decoded comes out, in order, and nothing crashes or hangs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from streams import Image, as_frame, encode, panning, texture

from arseg_edge.runtime.read_motion import read_motion
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.open_source import SourceLike, open_source

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import fuzz_streams

CODECS = [
    ("libx264", "mkv"),
    ("libx265", "mkv"),
    ("mpeg4", "avi"),
    ("libvpx-vp9", "webm"),
    ("libsvtav1", "mkv"),
]


def options_of(codec: str) -> dict[str, str]:
    return {"preset": "12", "svtav1-params": "lp=1"} if codec == "libsvtav1" else {}


def read(source: SourceLike) -> list[DecodedFrame]:
    with open_source(source) as opened:
        frames = list(opened.frames())
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert (np.diff([frame.pts for frame in frames]) > 0).all()
    return frames


# Damage at random


def test_flipped_bits_and_truncation(tmp_path: Path) -> None:
    outcomes = list(fuzz_streams.fuzz(tmp_path, flipped=30, truncated=10, seed=1))
    assert len(outcomes) == 40
    assert [f"{case.path.name}: {outcome}" for case, outcome in outcomes if outcome.failed] == []
    # Damage that spares every stream, or that ruins every one, would show nothing.
    assert {outcome.verdict for _, outcome in outcomes} >= {"partial", "error"}


def test_lost_packets_of_all_kinds(tmp_path: Path) -> None:
    outcomes = list(fuzz_streams.fuzz(tmp_path, flipped=0, truncated=0, lost=27, seed=1))
    assert len(outcomes) == 27
    assert [f"{case.path.name}: {outcome}" for case, outcome in outcomes if outcome.failed] == []


def test_losses_that_are_not_told_are_noticed(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", panning(6, 64, 64, 1, 0))
    assert fuzz_streams.read(path, lost=1).verdict == "silent"


@pytest.mark.long
def test_many_streams_with_lost_packets(tmp_path: Path) -> None:
    outcomes = list(fuzz_streams.fuzz(tmp_path, flipped=0, truncated=0, lost=500, seed=2))
    assert [f"{case.path.name}: {outcome}" for case, outcome in outcomes if outcome.failed] == []


@pytest.mark.long
def test_many_streams_with_flipped_bits_and_truncation(tmp_path: Path) -> None:
    outcomes = list(fuzz_streams.fuzz(tmp_path, flipped=500, truncated=100, seed=2))
    assert [f"{case.path.name}: {outcome}" for case, outcome in outcomes if outcome.failed] == []


def test_the_watch_notices_what_must_not_happen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_streams, "TIMEOUT", 0.0)
    watched = fuzz_streams.Watched()
    try:
        assert watched.read(encode(tmp_path / "v.mp4", panning(2, 64, 64, 1, 0))).verdict == "hang"
        monkeypatch.setattr(fuzz_streams, "TIMEOUT", 30.0)
        watched._process.kill()
        assert watched.read(tmp_path / "v.mp4").verdict == "crash"
        assert watched.read(tmp_path / "v.mp4").verdict == "partial"  # two frames are fewer than a whole clip has
    finally:
        watched.close()


def test_data_that_cannot_be_read_in_the_middle(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.ts", panning(24, 96, 128, 2, 1), gop=6)
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    path.write_bytes(content)
    frames = read(path)
    assert 10 < len(frames) < 24
    assert any(frame.discontinuity or frame.corrupt for frame in frames)
    assert cv2.PSNR(frames[-1].rgb, panning(24, 96, 128, 2, 1)[-1]) > 30


def test_metadata_that_is_no_text(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mkv", panning(3, 64, 64, 1, 0))
    assert b"Lavf" in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b"Lavf", b"\xff\xfe\xfd\xfc"))
    assert len(read(path)) == 3


# Streams joined late or put together


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "ts"), ("libx264", "h264"), ("mpeg2video", "ts")])
def test_a_start_in_the_middle_of_a_gop(tmp_path: Path, codec: str, suffix: str) -> None:
    pictures = panning(24, 96, 128, 2, 1)
    path = encode(tmp_path / f"v.{suffix}", pictures, codec, gop=8)
    with av.open(str(path)) as container:
        sizes = [packet.size for packet in container.demux(video=0) if packet.size]
    content = path.read_bytes()
    start = len(content) * sum(sizes[:4]) // sum(sizes) // 188 * 188  # within the first GOP, after its I-frame
    path.write_bytes(content[start:])
    frames = read(path)
    assert 16 <= len(frames) < 24
    assert "I" in {frame.picture_type for frame in frames[: len(frames) - 15]}
    for frame, picture in zip(frames[-16:], pictures[-16:], strict=True):
        assert cv2.PSNR(frame.rgb, picture) > 30


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "h264"), ("libx264", "ts"), ("libx265", "hevc")])
def test_the_size_can_change_in_mid_stream(tmp_path: Path, codec: str, suffix: str) -> None:
    parts = [encode(tmp_path / f"{n}.{suffix}", panning(5, 96, n, 2, 0), codec) for n in (96, 128)]
    joined = tmp_path / f"joined.{suffix}"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = list(read_motion(joined))
    assert [frame.rgb.shape for frame in frames] == [(96, 96, 3)] * 5 + [(96, 128, 3)] * 5
    assert frames[5].is_keyframe
    assert (np.diff([frame.pts for frame in frames]) > 0).all()


# Time


@pytest.mark.parametrize(("codec", "suffix"), CODECS)
def test_frames_at_irregular_times(tmp_path: Path, codec: str, suffix: str) -> None:
    if suffix == "avi":  # has no times of its own
        suffix = "mkv"
    times = [0, 40, 50, 200, 210, 1000, 1040, 5000]  # milliseconds
    given = []
    for picture, time in zip(panning(len(times), 96, 128, 2, 1), times, strict=True):
        frame = as_frame(picture)
        frame.pts, frame.time_base = time, Fraction(1, 1000)
        given.append(frame)
    path = encode(tmp_path / f"v.{suffix}", given, codec, rate=100, options=options_of(codec))
    assert [round(frame.time * 1000) for frame in read(path)] == times


def test_time_that_starts_again(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.ts", panning(30, 96, 128, 2, 1))
    path.write_bytes(path.read_bytes() * 3)
    frames = read(path)
    assert len(frames) == 90
    np.testing.assert_allclose(np.diff([frame.time for frame in frames]), 1 / 25, atol=1e-4)


def timed(stamps: list[int | None]) -> list[av.VideoFrame]:
    frames = []
    for picture, pts in zip(panning(len(stamps), 32, 32, 1, 0), stamps, strict=True):
        frame = as_frame(picture)
        frame.pts, frame.time_base = pts, Fraction(1, 100)
        frames.append(frame)
    return frames


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([None, None, None], [0, 1, 2]),
        ([5, 9, None, 17], [5, 9, 13, 17]),
        ([0, 4, 3, 8], [0, 4, 6, 8]),
        ([1000, 1004, 0, 4, 8], [1000, 1004, 1008, 1012, 1016]),
        ([1000, 0, None, 8], [1000, 1004, 1008, 1012]),
        ([-8, -4, 0], [-8, -4, 0]),
    ],
)
def test_timestamps_always_rise(given: list[int | None], expected: list[int]) -> None:
    assert [frame.pts for frame in read(timed(given))] == expected


# Odd pictures


@pytest.mark.parametrize(("codec", "suffix"), CODECS)
def test_odd_sizes(tmp_path: Path, codec: str, suffix: str) -> None:
    pictures = panning(6, 238, 318, 2, 1)
    frames = list(read_motion(encode(tmp_path / f"v.{suffix}", pictures, codec, options=options_of(codec))))
    assert len(frames) == 6
    for frame, picture in zip(frames, pictures, strict=True):
        assert frame.rgb.shape == (238, 318, 3)
        assert cv2.PSNR(frame.rgb, picture) > 25
        assert frame.motion is None or frame.motion.shape == (238, 318, 2)


@pytest.mark.parametrize("pix_fmt", ["yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "gray"])
def test_pixel_formats(tmp_path: Path, pix_fmt: str) -> None:
    pictures = panning(4, 96, 128, 2, 1)
    frames = list(read_motion(encode(tmp_path / "v.mp4", pictures, pix_fmt=pix_fmt)))
    assert [frame.rgb.shape for frame in frames] == [(96, 128, 3)] * 4
    reference = pictures
    if pix_fmt == "gray":
        reference = [cv2.cvtColor(cv2.cvtColor(each, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) for each in pictures]
    assert all(cv2.PSNR(frame.rgb, each) > 28 for frame, each in zip(frames, reference, strict=True))


def test_interlaced_pictures_all_come(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", panning(12, 96, 128, 2, 1), options={"x264-params": "tff=1"})
    frames = read(path)
    assert len(frames) == 12
    assert {frame.vectors is None for frame in frames} == {True}


# More than a video


def streams_beside(*videos: Path) -> Callable[[Path], Path]:
    def write(target: Path) -> Path:
        with av.open(str(target), "w") as after:
            inputs = [av.open(str(video)) for video in videos]
            copies = [after.add_stream_from_template(each.streams.video[0]) for each in inputs]
            for each, copy in zip(inputs, copies, strict=True):
                for packet in each.demux(video=0):
                    if packet.dts is not None:
                        packet.stream = copy
                        after.mux(packet)
                each.close()
        return target

    return write


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_of_several_video_streams_one_is_read(tmp_path: Path, suffix: str) -> None:
    small = encode(tmp_path / "s.mp4", panning(6, 64, 64, 1, 0), bit_rate=100_000)
    large = encode(tmp_path / "l.mp4", panning(6, 240, 320, 2, 1), bit_rate=4_000_000)
    both = streams_beside(small, large)(tmp_path / f"both.{suffix}")
    with av.open(str(both)) as container:
        assert len(container.streams.video) == 2
        best = container.streams.best("video")
        assert isinstance(best, av.video.stream.VideoStream)
        size = (best.height, best.width, 3)
    assert [frame.rgb.shape for frame in read(both)] == [size] * 6


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_an_image_is_a_video_of_one_frame(tmp_path: Path, suffix: str) -> None:
    picture: Image = texture(48, 64)
    path = tmp_path / f"still.{suffix}"
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    with open_source(path) as source:
        assert (source.frame_count, source.height, source.width, source.live) == (1, 48, 64, False)
        (frame,) = source.frames()
    assert cv2.PSNR(frame.rgb, picture) > 28
    assert [each.keyframe_reason for each in read_motion(path)] == ["first"]
