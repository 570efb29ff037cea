"""RGB of decoded pictures, against the standards' equations and against what the ffmpeg program makes of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from streams import Image, encode, texture

from arseg_edge.results import Colour
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


# PQ and HLG


TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
"""From linear BT.709 to linear BT.2020: ITU-R BT.2087-0, annex 2."""

SDR = np.array([(255, 255, 255), (128, 128, 128), (60, 60, 60), (200, 60, 40), (40, 160, 60), (50, 80, 190)])
"""Colours that a display of SDR shows, BT.1886 with white at 203 cd/m2, where BT.2408 puts it in HDR."""


def pq(luminance: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The signal, 0 to 1, for a luminance in cd/m2: SMPTE ST 2084, as ITU-R BT.2100-2, table 4, has it."""
    y = (np.maximum(luminance, 0) / 10_000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def hlg(luminance: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The same for HLG on a display of 1000 cd/m2: ITU-R BT.2100-2, table 5, inverse OOTF and OETF."""
    shown = np.maximum(luminance, 0) / 1000
    luma = shown @ [0.2627, 0.6780, 0.0593]
    scene = shown * luma[..., None] ** ((1 - 1.2) / 1.2)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


def hdr_video(path: Path, signal: npt.NDArray[np.floating], transfer: int) -> Path:
    """R'G'B' signals of BT.2020 [n, 3] as patches of 32 pixels, in 10 bits."""
    y = signal @ [0.2627, 0.6780, 0.0593]
    cb, cr = (signal[:, 2] - y) / 1.8814, (signal[:, 0] - y) / 1.4746
    picture = av.VideoFrame(32 * len(signal), 32, "yuv420p10le")
    for plane, values in zip(picture.planes, (64 + 876 * y, 512 + 896 * cb, 512 + 896 * cr), strict=True):
        codes = np.round(values).astype(np.uint16).repeat(plane.width // len(signal))
        rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        rows[:, : plane.width] = codes
        plane.update(rows)
    colours = {"colorspace": 9, "color_trc": transfer, "color_primaries": 9, "color_range": 1}
    return encode(path, [picture], pix_fmt="yuv420p10le", options={"qp": "0"}, **colours)


@pytest.mark.parametrize(("transfer", "signal"), [(16, pq), (18, hlg)], ids=["PQ", "HLG"])
def test_hdr_is_shown_as_sdr(tmp_path: Path, transfer: int, signal: Callable[..., npt.NDArray[np.floating]]) -> None:
    luminance = 203 * (SDR / 255) ** 2.4 @ TO_2020.T
    path = hdr_video(tmp_path / "hdr.mp4", signal(luminance), transfer)
    with open_source(path) as source:
        frames = list(source.frames())
        assert source.incidents.counts() == {"tone-mapped": 1}
    assert frames[0].colour == Colour(9, transfer, 9)
    for side in (32, 16):
        rgb = frames[0].rgb_at((side, side * len(SDR)))
        np.testing.assert_allclose(rgb[side // 2, side // 2 :: side].astype(int), SDR, atol=5)
    np.testing.assert_array_equal(frames[0].rgb, frames[0].rgb_at((32, 32 * len(SDR))))


@pytest.mark.parametrize(("transfer", "signal"), [(16, pq), (18, hlg)], ids=["PQ", "HLG"])
def test_what_is_brighter_than_white_is_cut(
    tmp_path: Path, transfer: int, signal: Callable[..., npt.NDArray[np.floating]]
) -> None:
    luminance = np.array([150, 203, 400, 700, 1000])[:, None].repeat(3, 1)
    (frame,) = read(hdr_video(tmp_path / "hdr.mp4", signal(luminance), transfer))
    shown = frame.rgb[16, 16::32].astype(int)
    np.testing.assert_allclose(shown[0], 255 * (150 / 203) ** (1 / 2.4), atol=4)
    assert (shown[1:] >= 251).all()


def test_wide_colours_of_sdr_stay_as_they_are(tmp_path: Path) -> None:
    path = hdr_video(tmp_path / "sdr.mp4", SDR / 255, 14)
    with open_source(path) as source:
        (frame,) = source.frames()
        assert source.incidents.counts() == {}
    assert frame.colour == Colour(9, 14, 9)
    np.testing.assert_allclose(frame.rgb[16, 16::32].astype(int), SDR, atol=ROUNDING)


def test_the_colours_that_a_stream_names(tmp_path: Path) -> None:
    tags = {"colorspace": 6, "color_trc": 6, "color_primaries": 5, "color_range": 2}
    frames = read(encode(tmp_path / "c.mp4", [texture(64, 64)], **tags))
    assert frames[0].colour == Colour(primaries=5, transfer=6, matrix=6, full_range=True)
    assert read(encode(tmp_path / "u.mp4", [texture(64, 64)]))[0].colour == Colour()
    assert read([texture(64, 64)])[0].colour is None


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
