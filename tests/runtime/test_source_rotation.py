"""Streams that want to be shown turned or mirrored: pictures, sizes and motion come out upright."""

from __future__ import annotations

import os
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
