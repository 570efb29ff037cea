"""Streams that want to be shown turned or mirrored: pictures, sizes and motion come out upright."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from streams import Image, encode, panning

from arseg_edge.runtime.motion.vectors import VectorRecords
from arseg_edge.runtime.read_motion import read_motion
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.open_source import open_source

HEIGHT, WIDTH = 96, 128
TURNS = [(degrees, mirrored) for mirrored in (False, True) for degrees in (0, 90, 180, 270)]


def turned(path: Path, target: Path, degrees: int, mirrored: bool) -> Path:
    """A copy of the stream, to be shown turned so far counterclockwise and then mirrored."""
    with av.open(str(path)) as before, av.open(str(target), "w") as after:
        copy = after.add_stream_from_template(before.streams.video[0])
        copy.set_display_rotation(degrees, hflip=mirrored)
        for packet in before.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                after.mux(packet)
    return target


def by_numpy(array: npt.NDArray[np.generic], degrees: int, mirrored: bool) -> npt.NDArray[np.generic]:
    result = np.rot90(array, degrees // 90)
    return result[:, ::-1] if mirrored else result


def motion_by_numpy(motion: npt.NDArray[np.float32], degrees: int, mirrored: bool) -> npt.NDArray[np.float32]:
    """A map of displacements turned: where each stands, and which way it points."""
    dx, dy = (by_numpy(motion[..., axis], degrees, mirrored) for axis in range(2))
    for _ in range(degrees // 90):
        dx, dy = dy, -dx  # counterclockwise, with y downwards
    return np.stack([-dx if mirrored else dx, dy], axis=-1).astype(np.float32)


def read(path: Path) -> list[DecodedFrame]:
    with open_source(path) as source:
        return list(source.frames())


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("rotation") / "v.mp4", panning(6, HEIGHT, WIDTH, 3, 1))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(("degrees", "mirrored"), TURNS)
def test_pictures_come_upright(tmp_path: Path, upright: Path, degrees: int, mirrored: bool, suffix: str) -> None:
    path = turned(upright, tmp_path / f"t.{suffix}", degrees, mirrored)
    with open_source(path) as source:
        size = (source.height, source.width)
        frames = list(source.frames())
    for frame, plain in zip(frames, read(upright), strict=True):
        expected = by_numpy(plain.rgb, degrees, mirrored)
        assert isinstance(frame.picture, av.VideoFrame)
        assert all(plane.line_size > 0 for plane in frame.picture.planes)
        assert frame.rgb.shape == (frame.height, frame.width, 3) == (*size, 3) == expected.shape
        assert cv2.PSNR(frame.rgb, np.ascontiguousarray(expected)) > 40
        assert frame.picture_type == plain.picture_type
        assert frame.pts * frame.time_base == plain.pts * plain.time_base


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p10le"])
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rgb_is_what_ffmpeg_makes_of_it(tmp_path: Path, degrees: int, pix_fmt: str) -> None:
    program = shutil.which("ffmpeg")
    if program is None:
        if os.environ.get("ARSEG_EDGE_REQUIRE_FFMPEG") == "1":
            pytest.fail("needs the ffmpeg program")
        pytest.skip("needs the ffmpeg program")
    plain = encode(tmp_path / "v.mp4", panning(2, 62, 90, 3, 1), pix_fmt=pix_fmt)
    path = turned(plain, tmp_path / "t.mp4", degrees, mirrored=False)
    command = [program, "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    output = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.uint8)
    frames = read(path)
    expected = output.reshape(len(frames), frames[0].height, frames[0].width, 3)
    for frame, reference in zip(frames, expected, strict=True):
        np.testing.assert_allclose(frame.rgb.astype(int), reference.astype(int), atol=2)


def painted(records: VectorRecords, height: int, width: int) -> npt.NDArray[np.float32]:
    """Each block's displacement on its pixels; NaN where there is none."""
    result = np.full((height, width, 2), np.nan, np.float32)
    for record in records:
        top, left = record["dst_y"] - record["h"] // 2, record["dst_x"] - record["w"] // 2
        vector = record["motion_x"] / record["motion_scale"], record["motion_y"] / record["motion_scale"]
        result[max(top, 0) : max(top + record["h"], 0), max(left, 0) : max(left + record["w"], 0)] = vector
    return result


@pytest.mark.parametrize(("degrees", "mirrored"), TURNS)
def test_vectors_turn_with_the_picture(tmp_path: Path, upright: Path, degrees: int, mirrored: bool) -> None:
    frames = read(turned(upright, tmp_path / "t.mp4", degrees, mirrored))
    for frame, plain in zip(frames[1:], read(upright)[1:], strict=True):
        assert frame.vectors is not None
        assert plain.vectors is not None
        expected = motion_by_numpy(painted(plain.vectors, HEIGHT, WIDTH), degrees, mirrored)
        np.testing.assert_array_equal(painted(frame.vectors, frame.height, frame.width), expected)


@pytest.mark.parametrize(("degrees", "mirrored"), TURNS)
def test_blocks_stay_on_the_grid_where_the_size_is_odd(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    path = encode(tmp_path / "v.mp4", panning(3, 62, 90, 3, 1))
    for frame, plain in zip(read(turned(path, tmp_path / "t.mp4", degrees, mirrored))[1:], read(path)[1:], strict=True):
        assert frame.vectors is not None
        assert plain.vectors is not None
        for axis, side in (("x", "w"), ("y", "h")):
            np.testing.assert_array_equal((frame.vectors[f"dst_{axis}"] - frame.vectors[side] // 2) % 8, 0)
        expected = motion_by_numpy(painted(plain.vectors, 62, 90), degrees, mirrored)
        found = painted(frame.vectors, frame.height, frame.width)
        # They move by half a block at most, which only their borders show.
        same = np.all((found == expected) | (np.isnan(found) & np.isnan(expected)), axis=-1)
        assert same.mean() > 0.7


@pytest.mark.parametrize(("degrees", "mirrored"), TURNS)
def test_the_warped_keyframe_is_the_frame(tmp_path: Path, upright: Path, degrees: int, mirrored: bool) -> None:
    keyframe: Image | None = None
    for frame in read_motion(turned(upright, tmp_path / "t.mp4", degrees, mirrored)):
        if frame.motion is None:
            keyframe = frame.rgb
            continue
        assert keyframe is not None
        ys, xs = np.mgrid[: frame.rgb.shape[0], : frame.rgb.shape[1]].astype(np.float32)
        warped = cv2.remap(keyframe, xs + frame.motion[..., 0], ys + frame.motion[..., 1], cv2.INTER_LINEAR)
        inside = slice(20, -20), slice(20, -20)
        gain = cv2.PSNR(np.asarray(warped)[inside], frame.rgb[inside]) - cv2.PSNR(keyframe[inside], frame.rgb[inside])
        assert gain > 5


# Said once in the stream


ONCE = Path(__file__).parents[1] / "data" / "streams" / "rotation-once.ts"


def copied(source: Path, target: Path) -> Path:
    """The stream in another container."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        copy = after.add_stream_from_template(before.streams.video[0])
        for packet in before.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                after.mux(packet)
    return target


@pytest.mark.parametrize("suffix", ["ts", "mp4", "mkv", "h264", "avi", "flv"])
def test_a_rotation_that_is_said_once_holds(tmp_path: Path, suffix: str) -> None:
    with open_source(copied(ONCE, tmp_path / f"v.{suffix}")) as source:
        assert (source.height, source.width) == (256, 192)
        frames = list(source.frames())
        assert source.incidents.counts() == {"turned": 40}
    assert [(frame.height, frame.width) for frame in frames] == [(256, 192)] * 40


def orientation(degrees: int, *, cancel: bool = False) -> bytes:
    """A display orientation message of H.264 that holds until replaced: ITU-T H.264, D.1.27."""
    if cancel:
        payload = b"\xc0"  # the flag, then the bit that aligns
    else:
        # cancel 0, mirrors 0 0, angle in 16 bits, repetition period 1 ("010"), extension 0, alignment
        bits = f"000{degrees * 65536 // 360:016b}010" + "0" + "1"
        payload = int(bits.ljust(24, "0"), 2).to_bytes(3, "big")
    message = bytes([47, len(payload)]) + payload + b"\x80"
    message = re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", message)  # emulation prevention
    return b"\x00\x00\x00\x01\x06" + message


def with_messages(source: Path, target: Path, messages: dict[int, bytes]) -> Path:
    """A raw H.264 stream with a message before some of its frames."""
    with av.open(str(source)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    target.write_bytes(b"".join(messages.get(number, b"") + packet for number, packet in enumerate(packets)))
    return target


@pytest.mark.parametrize("last", [orientation(0), orientation(0, cancel=True)], ids=["0 degrees", "cancelled"])
def test_it_holds_until_it_is_replaced(tmp_path: Path, last: bytes) -> None:
    plain = encode(tmp_path / "v.h264", panning(12, HEIGHT, WIDTH, 3, 1), options={"x264-params": "aud=0"})
    said = {2: orientation(90), 5: orientation(180), 9: last}
    with open_source(with_messages(plain, tmp_path / "t.h264", said)) as source:
        assert (source.height, source.width) == (HEIGHT, WIDTH)
        frames = list(source.frames())
        assert source.incidents.counts() == {"turned": 7, "resized": 2}
    for index, (frame, upright) in enumerate(zip(frames, read(plain), strict=True)):
        degrees = 0 if index < 2 or index >= 9 else 90 if index < 5 else 180
        expected = np.ascontiguousarray(by_numpy(upright.rgb, degrees, mirrored=False))
        assert frame.rgb.shape == expected.shape
        assert cv2.PSNR(frame.rgb, expected) > 40


def test_pictures_of_a_callers_own_say_it_each(tmp_path: Path, upright: Path) -> None:
    def decoded(path: Path) -> list[av.VideoFrame]:
        with av.open(str(path)) as container:
            return list(container.decode(video=0))

    both = decoded(turned(upright, tmp_path / "t.mp4", 90, mirrored=False)) + decoded(upright)
    with open_source(both) as source:
        sizes = [(frame.height, frame.width) for frame in source.frames()]
    assert sizes == [(WIDTH, HEIGHT)] * 6 + [(HEIGHT, WIDTH)] * 6
