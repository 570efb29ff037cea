"""RGB of decoded pictures, against the standards' equations and against what the ffmpeg program makes of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from streams import Image, encode, texture

from arseg_edge.runtime.source.open_source import DecodedFrame, SourceLike, open_source


def read(source: SourceLike) -> list[DecodedFrame]:
    with open_source(source) as opened:
        return list(opened.frames())


MATRICES = {"bt709": (1, 0.2126, 0.0722), "unspecified": (2, 0.299, 0.114), "smpte170m": (6, 0.299, 0.114)}
"""AVColorSpace, and the weights of red and blue in luma."""


def by_the_standard(yuv: npt.NDArray[np.floating], red: float, blue: float, full: bool) -> npt.NDArray[np.floating]:
    """R'G'B' of 8-bit Y'CbCr [..., 3], after ITU-R BT.601-7 and BT.709-6."""
    y = yuv[..., 0] / 255 if full else (yuv[..., 0] - 16) / 219
    cb, cr = (np.moveaxis(yuv[..., 1:], -1, 0) - 128) / (255 if full else 224)
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.stack([r, g, b], axis=-1) * 255, 0, 255)


# libswscale's fast paths round down, by up to 2.5 of 255; a wrong matrix or range is off by 10 and more.
ROUNDING = 3


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", list(MATRICES))
def test_colours_follow_matrix_and_range_of_the_stream(tmp_path: Path, matrix: str, full: bool) -> None:
    tag, red, blue = MATRICES[matrix]
    colours = np.array([(81, 90, 200), (120, 170, 90), (180, 100, 140)], np.uint8)
    given = []
    for y, cb, cr in colours:
        planes = np.concatenate([np.full(64 * 64, y), np.full(32 * 32, cb), np.full(32 * 32, cr)])
        given.append(av.VideoFrame.from_ndarray(planes.reshape(96, 64), format="yuv420p"))
    path = encode(tmp_path / "c.mp4", given, options={"qp": "0"}, colorspace=tag, color_range=2 if full else 1)
    for frame, colour in zip(read(path), colours, strict=True):
        want = np.broadcast_to(by_the_standard(colour.astype(float), red, blue, full), frame.rgb.shape)
        np.testing.assert_allclose(frame.rgb, want, atol=ROUNDING)


def test_colours_follow_each_frame() -> None:
    planes = np.concatenate([np.full(64 * 64, 120), np.full(32 * 32, 90), np.full(32 * 32, 190)])
    frames = []
    for tag in (1, 6, 1):
        frame = av.VideoFrame.from_ndarray(planes.reshape(96, 64).astype(np.uint8), format="yuv420p")
        frame.colorspace = tag
        frames.append(frame)
    for frame, matrix in zip(read(frames), ("bt709", "smpte170m", "bt709"), strict=True):
        want = by_the_standard(np.array([120.0, 90.0, 190.0]), *MATRICES[matrix][1:], full=False)
        np.testing.assert_allclose(frame.rgb[10, 10], want, atol=ROUNDING)


@pytest.mark.parametrize(("pix_fmt", "step"), [("yuv444p", 1), ("yuv444p10le", 4)])
def test_every_pixel_where_chroma_is_not_subsampled(tmp_path: Path, pix_fmt: str, step: int) -> None:
    (frame,) = read(encode(tmp_path / "c.mp4", [texture(62, 58)], pix_fmt=pix_fmt))
    assert isinstance(frame.picture, av.VideoFrame)
    assert frame.picture.format.name == pix_fmt
    depth = np.dtype(np.uint8 if step == 1 else np.uint16)
    rows = [np.frombuffer(plane, depth).reshape(62, -1)[:, :58] for plane in frame.picture.planes]
    planes = np.stack(rows, axis=-1) / step
    np.testing.assert_allclose(frame.rgb, by_the_standard(planes, 0.299, 0.114, full=False), atol=ROUNDING)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p"])
@pytest.mark.parametrize("size", [(64, 64), (58, 62)])
def test_rgb_is_what_libswscale_makes_of_it(tmp_path: Path, pix_fmt: str, size: tuple[int, int]) -> None:
    (frame,) = read(encode(tmp_path / "c.mp4", [texture(*size)], pix_fmt=pix_fmt))
    assert isinstance(frame.picture, av.VideoFrame)
    assert (frame.picture.format.name, frame.rgb.shape) == (pix_fmt, (*size, 3))
    reference = frame.picture.to_ndarray(format="rgb24", interpolation="BICUBIC")
    np.testing.assert_allclose(frame.rgb.astype(int), reference.astype(int), atol=2)


# ffmpeg itself


def by_ffmpeg(path: Path, height: int, width: int) -> Image:
    """The frames of a video as the ffmpeg program gives them, [n, height, width, 3]."""
    program = shutil.which("ffmpeg")
    if program is None:
        message = "needs the ffmpeg program"
        if os.environ.get("ARSEG_EDGE_REQUIRE_FFMPEG") == "1":
            pytest.fail(message)
        pytest.skip(message)
    command = [program, "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(output, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", list(MATRICES))
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"])
def test_rgb_is_what_ffmpeg_makes_of_it(tmp_path: Path, pix_fmt: str, matrix: str, full: bool) -> None:
    height, width = 62, 90
    path = encode(
        tmp_path / "c.mp4",
        [texture(height, width, seed) for seed in range(2)],
        pix_fmt=pix_fmt,
        options={"qp": "8"},
        colorspace=MATRICES[matrix][0],
        color_range=2 if full else 1,
    )
    frames = read(path)
    for frame, expected in zip(frames, by_ffmpeg(path, height, width), strict=True):
        np.testing.assert_allclose(frame.rgb.astype(int), expected.astype(int), atol=2)


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt"),
    [
        ("libx265", "mkv", "yuv420p10le"),
        ("libvpx-vp9", "webm", "yuv420p"),
        ("mpeg4", "avi", "yuv420p"),
        ("mjpeg", "avi", "yuvj420p"),
        ("libsvtav1", "mkv", "yuv420p10le"),
    ],
)
def test_rgb_of_other_codecs_is_what_ffmpeg_makes_of_it(tmp_path: Path, codec: str, suffix: str, pix_fmt: str) -> None:
    options = {"preset": "12", "svtav1-params": "lp=1"} if codec == "libsvtav1" else {}
    pictures = [texture(96, 128, seed) for seed in range(2)]
    path = encode(tmp_path / f"c.{suffix}", pictures, codec, pix_fmt=pix_fmt, options=options)
    for frame, expected in zip(read(path), by_ffmpeg(path, 96, 128), strict=True):
        np.testing.assert_allclose(frame.rgb.astype(int), expected.astype(int), atol=2)
