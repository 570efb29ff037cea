"""Motion of streams whose vectors are no plain chain, or that have none: real encoder output, known displacement."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from streams import Image, as_frame, change_packets, encode, panning

from arseg_edge.runtime.motion import CHAINS, Chaining
from arseg_edge.runtime.motion.follow import MotionMode
from arseg_edge.runtime.motion.vectors import listed_vectors
from arseg_edge.runtime.read_motion import MotionFrame, read_motion
from arseg_edge.runtime.source.open_source import open_source

HEIGHT, WIDTH, COUNT = 144, 176, 13
PAN = (3, -2)


def errors(frame: MotionFrame) -> Any:
    """How far the motion of pixels in view since the keyframe is from the pan, less a margin; [n], pixels."""
    assert frame.motion is not None
    x, y = frame.distance * PAN[0], frame.distance * PAN[1]
    inside = frame.motion[16 + max(0, -y) : HEIGHT - 16 - max(0, y), 16 + max(0, -x) : WIDTH - 16 - max(0, x)]
    return np.abs(inside - np.array(PAN) * frame.distance).max(axis=-1).ravel()


def check(frames: list[MotionFrame], source: str, *, right: float = 0.95, first: str | None = None) -> None:
    """All frames came, in order, and those between keyframes have the pan's motion, the ``first`` from elsewhere."""
    assert [frame.index for frame in frames] == list(range(COUNT))
    assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(COUNT)], abs=1e-3)
    assert [frame.keyframe_reason for frame in frames] == ["first", *[None] * 11, "interval"]
    for frame in frames:
        if frame.motion is None:
            assert frame.motion_source is None
            continue
        assert frame.motion_source == (first if first is not None and frame.index == 1 else source)
        found = errors(frame)
        assert np.median(found) < 0.2
        assert (found <= 1).mean() > right


STREAMS: dict[str, dict[str, Any]] = {
    "h264 with B-frames": {"b_frames": 2},
    "h264 with a pyramid of B-frames": {"b_frames": 3, "refs": 3, "options": {"b-pyramid": "normal"}},
    "h264 with three references": {"refs": 3},
    "mpeg4 with B-frames": {"codec": "mpeg4", "b_frames": 2},
    "mpeg2 with B-frames": {"codec": "mpeg2video", "b_frames": 2},
}


def stream(tmp_path: Path, name: str) -> Path:
    settings = {"gop": 250, **STREAMS[name]}
    return encode(tmp_path / "pan.mkv", panning(COUNT, HEIGHT, WIDTH, *PAN), **settings)


@pytest.mark.parametrize("chaining", list(CHAINS))
@pytest.mark.parametrize("name", list(STREAMS))
def test_vectors_are_resolved(tmp_path: Path, name: str, chaining: Chaining) -> None:
    frames = list(read_motion(stream(tmp_path, name), chaining=chaining))
    check(frames, "resolved" if "B-frames" in name else "bitstream")


# MPEG-4's direct blocks, most of a B-frame, are handed out with zero vectors: only pixels can tell their motion.
@pytest.mark.parametrize("name", [name for name in STREAMS if name != "mpeg4 with B-frames"])
def test_vectors_alone_are_resolved(tmp_path: Path, name: str) -> None:
    # The first P-frame has one frame to refer to, however many the stream allows.
    first = "bitstream" if name == "h264 with three references" else None
    check(list(read_motion(stream(tmp_path, name), motion="bitstream")), "resolved", right=0.9, first=first)


@pytest.mark.parametrize("chaining", list(CHAINS))
@pytest.mark.parametrize(
    ("codec", "options"),
    [("libx265", {}), ("libvpx-vp9", {}), ("libvpx", {}), ("libsvtav1", {"preset": "12"}), ("mjpeg", {})],
)
def test_motion_is_estimated_without_vectors(
    tmp_path: Path, codec: str, options: dict[str, str], chaining: Chaining
) -> None:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    clip = panning(COUNT, HEIGHT, WIDTH, *PAN)
    path = encode(tmp_path / "pan.mkv", clip, codec, gop=250, options=options, pix_fmt=pix_fmt)
    check(list(read_motion(path, chaining=chaining)), "estimated")


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv444p", "yuv422p10le"])
def test_motion_is_estimated_in_other_formats(tmp_path: Path, pix_fmt: str) -> None:
    path = encode(tmp_path / "pan.mkv", panning(COUNT, HEIGHT, WIDTH, *PAN), "libx265", gop=250, pix_fmt=pix_fmt)
    check(list(read_motion(path)), "estimated")


def test_motion_is_estimated_in_interlaced_streams(tmp_path: Path) -> None:
    options = {"x264-params": "tff=1"}
    path = encode(tmp_path / "pan.mkv", panning(COUNT, HEIGHT, WIDTH, *PAN), gop=250, options=options)
    check(list(read_motion(path)), "estimated")


def test_motion_is_estimated_in_images(tmp_path: Path) -> None:
    for index, picture in enumerate(panning(COUNT, HEIGHT, WIDTH, *PAN)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture[..., ::-1])
    check(list(read_motion(tmp_path)), "estimated")


@pytest.mark.parametrize("wrap", [np.asarray, as_frame, lambda picture: as_frame(picture).reformat(format="nv12")])
def test_motion_is_estimated_in_iterables(wrap: Callable[[Image], Any]) -> None:
    frames = list(read_motion([wrap(picture) for picture in panning(COUNT, HEIGHT, WIDTH, *PAN)]))
    assert [frame.keyframe_reason for frame in frames] == ["first", *[None] * 11, "interval"]
    assert all(np.median(errors(frame)) < 0.2 for frame in frames if frame.motion is not None)


def test_estimation_looks_at_no_vectors(tmp_path: Path) -> None:
    path = encode(tmp_path / "pan.mkv", panning(COUNT, HEIGHT, WIDTH, *PAN), gop=250)
    check(list(read_motion(path, motion="estimate")), "estimated")
    check(list(read_motion(path)), "bitstream")


@pytest.mark.parametrize("motion", ["auto", "bitstream"])
def test_published_chaining_of_sure_vectors_is_left_as_it_is(tmp_path: Path, motion: MotionMode) -> None:
    path = encode(tmp_path / "pan.mkv", panning(COUNT, HEIGHT, WIDTH, *PAN), gop=250)
    chain = CHAINS["published"]()
    chain.restart(HEIGHT, WIDTH)
    with open_source(path) as source:
        decoded = list(source.frames())
    for frame in list(read_motion(path, chaining="published", motion=motion))[1:12]:
        vectors = decoded[frame.index].vectors
        assert vectors is not None
        want = chain.advance(listed_vectors(vectors, HEIGHT, WIDTH).past)
        np.testing.assert_array_equal(frame.motion, want)


@pytest.mark.parametrize("codec", ["libx265", "libvpx-vp9"])
def test_bitstream_does_not_estimate(tmp_path: Path, codec: str) -> None:
    path = encode(tmp_path / "v.mkv", panning(4, 64, 64, 1, 0), codec)
    reasons = [frame.keyframe_reason for frame in read_motion(path, motion="bitstream")]
    assert reasons == ["first", "no-motion", "no-motion", "no-motion"]


@pytest.mark.parametrize("chaining", list(CHAINS))
def test_a_chain_goes_on_over_a_frame_without_vectors(tmp_path: Path, chaining: Chaining) -> None:
    clip = panning(COUNT, HEIGHT, WIDTH, *PAN)
    path = encode(tmp_path / "pan.mpg", clip[:6], "mpeg1video", gop=250)
    frames = list(read_motion(path, chaining=chaining))
    assert [frame.motion_source for frame in frames] == [None, *["bitstream"] * 4, "estimated"]
    assert np.median(errors(frames[-1])) < 0.2


def test_a_lost_reference_makes_a_keyframe(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", panning(10, HEIGHT, WIDTH, *PAN), b_frames=0, refs=3, gop=250)
    damaged = change_packets(path, tmp_path / "d.mp4", {4: b"no slice of a picture"})
    reasons = [frame.keyframe_reason for frame in read_motion(damaged)]
    assert reasons[4] == "discontinuity"
    assert reasons[:4] == ["first", None, None, None]


@pytest.mark.parametrize("gain", [0.7, 1.3])
def test_estimation_bears_a_change_of_exposure(gain: float) -> None:
    clip = panning(6, HEIGHT, WIDTH, *PAN)
    dimmed = [np.clip(picture * (1 + (gain - 1) * t / 5), 0, 255).astype(np.uint8) for t, picture in enumerate(clip)]
    last = list(read_motion(dimmed))[-1]
    assert last.distance == 5
    assert np.median(errors(last)) < 0.5


def test_a_still_picture_has_no_motion() -> None:
    for frame in list(read_motion(panning(6, HEIGHT, WIDTH, 0, 0)))[1:]:
        assert frame.motion is not None
        assert not frame.motion.any()
        assert frame.mismatch == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 15), (16, 400), (400, 16), (63, 65), (318, 238), (1, 900)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    pictures = [np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8) for seed in range(3)]
    for frame in list(read_motion(pictures, guards=None))[1:]:
        assert frame.motion is not None
        assert frame.motion.shape == (*size, 2)
        y, x = np.mgrid[: size[0], : size[1]]
        places = frame.motion + np.stack([x, y], axis=-1)
        assert (np.abs(places - np.array(size[::-1]) / 2 + 0.5) <= np.array(size[::-1]) / 2 + 0.01).all()


def test_a_rate_of_its_own_stays(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", panning(7, 64, 64, 1, 0), rate=Fraction(30000, 1001), b_frames=2)
    frames = list(read_motion(path))
    steps = np.diff([frame.pts for frame in frames])
    assert len(frames) == 7
    assert len(set(steps)) == 1
