"""Images as sources: which files, in which order, of which depth, and what happens to those that cannot be read."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from streams import Image, panning, texture

import arseg_edge
from arseg_edge.errors import SourceError
from arseg_edge.runtime.read_motion import motion_frames
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.images import read_image
from arseg_edge.runtime.source.open_source import SourceLike, open_source


def read(source: SourceLike) -> list[DecodedFrame]:
    with open_source(source) as opened:
        return list(opened.frames())


def write(path: Path, picture: npt.NDArray[np.generic]) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    coded = picture[..., ::-1] if picture.ndim == 3 else picture
    path.write_bytes(cv2.imencode(path.suffix, np.ascontiguousarray(coded))[1].tobytes())
    return path


def names(source: SourceLike) -> list[str | None]:
    return [frame.source_name for frame in read(source)]


# Which files


def test_hidden_files_are_no_images_and_what_is_left_out_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("10.png", "9.png", ".hidden.png"):
        write(tmp_path / name, texture(16, 24))
    (tmp_path / "._9.png").write_bytes(b"\0\5\x16\7")  # as macOS leaves beside every file
    for name in ("a.txt", "b.txt", "c.json", "README"):
        (tmp_path / name).touch()
    (tmp_path / "more.png").mkdir()
    assert names(tmp_path) == ["9.png", "10.png"]
    (line,) = caplog.messages
    assert line.startswith(f"{tmp_path}: left out what are no images: 2 .txt, ")
    assert all(part in line for part in ("1 .json", "1 no suffix", "1 directory"))


def test_a_directory_of_other_files_says_of_which(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(SourceError, match=r"no images in this directory \(but 1 \.mp4\); it needs files of .*png"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.png", ["1.png", "2.png", "10.png"]),
        ("?.png", ["1.png", "2.png"]),
        ("[12]*", ["1.png", "2.png", "10.png"]),
        ("%d.png", ["1.png", "2.png", "10.png"]),
        ("f%03d.jpg", ["f007.jpg", "f010.jpg", "f1000.jpg"]),
        ("f%d%%.jpg", ["f5%.jpg"]),
        ("*/*.png", ["a/1.png", "a/2.png", "b/1.png"]),
        ("**/1.png", ["1.png", "a/1.png", "b/1.png"]),
    ],
)
def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, found: list[str]) -> None:
    files = ["1.png", "2.png", "10.png", "f007.jpg", "f010.jpg", "f1000.jpg", "f12.jpg", "f5%.jpg"]
    for name in (*files, ".3.png", "a/1.png", "a/2.png", "b/1.png"):
        write(tmp_path / "frames" / name, texture(16, 24))
    monkeypatch.chdir(tmp_path)
    for location in (f"frames/{pattern}", tmp_path / "frames" / pattern):
        assert sorted(names(location), key=str) == sorted(found)
    assert [name for name in names(f"frames/{pattern}") if name in files] == [name for name in found if name in files]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    for name in ("a[1].png", "a1.png", "%d.png"):
        write(tmp_path / name, texture(16, 24))
    assert names(tmp_path / "a[1].png") == ["a[1].png"]
    assert names(tmp_path / "%d.png") == ["%d.png"]


@pytest.mark.parametrize("pattern", ["*.tif", "%04d.png", "none/%d.png", "none/*.png", "x.*"])
def test_patterns_that_nothing_matches(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "x.mp4").touch()
    with pytest.raises(SourceError, match=r"no images of this name|no directory") as caught:
        open_source(tmp_path / pattern)
    assert str(tmp_path) in str(caught.value)


def test_a_single_image(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "a.png", texture(16, 24))) as source:
        assert source.still
        assert [frame.source_name for frame in source.frames()] == ["a.png"]
    with open_source(tmp_path) as source:
        assert not source.still


@pytest.mark.parametrize("suffix", ["tif", "TIFF", "ppm", "pgm", "png", "bmp"])
def test_lossless_kinds(tmp_path: Path, suffix: str) -> None:
    picture = texture(48, 64)
    if suffix == "pgm":
        picture = np.repeat(picture[..., :1], 3, axis=2)
    path = tmp_path / f"a.{suffix}"
    write(path, picture[..., 0] if suffix == "pgm" else picture)
    (frame,) = read(tmp_path)
    np.testing.assert_array_equal(frame.rgb, picture)


# What cannot be read


@pytest.fixture
def spoilt(tmp_path: Path) -> tuple[Path, list[Image]]:
    """Eight images, of which the first, the fourth and the last cannot be read."""
    pictures = panning(8, 64, 96, 2, 1)
    for number, picture in enumerate(pictures):
        write(tmp_path / f"{number}.png", picture)
    (tmp_path / "0.png").write_bytes(b"")
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "7.png").write_bytes(b"no picture at all")
    return tmp_path, pictures


def test_an_image_that_cannot_be_read_is_left_out(
    spoilt: tuple[Path, list[Image]], caplog: pytest.LogCaptureFixture
) -> None:
    folder, pictures = spoilt
    with open_source(folder) as source:
        frames = list(source.frames())
        assert source.incidents.counts() == {"skipped": 3}
        assert (source.height, source.width) == (64, 96)
    assert [frame.source_name for frame in frames] == ["1.png", "2.png", "4.png", "5.png", "6.png"]
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.time for frame in frames] == [number / 25 for number in (1, 2, 4, 5, 6)]
    assert [frame.discontinuity for frame in frames] == [False, False, True, False, False]
    for frame, number in zip(frames, (1, 2, 4, 5, 6), strict=True):
        np.testing.assert_array_equal(frame.rgb, pictures[number])
    assert [f"{number}.png: not an image" in message for number, message in zip("037", caplog.messages, strict=True)]


def test_a_keyframe_follows(spoilt: tuple[Path, list[Image]]) -> None:
    with open_source(spoilt[0]) as source:
        reasons = [frame.keyframe_reason for frame in motion_frames(source, interval=100, guards=None)]
    assert reasons == ["first", None, "discontinuity", None, None]


def test_strict_ends_there(spoilt: tuple[Path, list[Image]]) -> None:
    with open_source(spoilt[0] / "[12345].png", strict=True) as source:
        frames = source.frames()
        assert [next(frames).source_name, next(frames).source_name] == ["1.png", "2.png"]
        with pytest.raises(SourceError, match=r"3\.png: not an image"):
            next(frames)


def test_a_stream_can_be_strict(spoilt: tuple[Path, list[Image]], tiny_bundle: Path) -> None:
    with arseg_edge.load(tiny_bundle) as segmenter:
        assert [result.source_name for result in segmenter.stream(spoilt[0])] == [f"{n}.png" for n in (1, 2, 4, 5, 6)]
        results = segmenter.stream(spoilt[0], strict=True)
        with pytest.raises(SourceError, match=r"0\.png: not an image"):
            next(results)


def test_many_that_cannot_be_read_are_counted_not_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(40):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    write(tmp_path / "40.png", texture(16, 24))
    with open_source(tmp_path) as source:
        assert len(list(source.frames())) == 1
        assert source.incidents.counts() == {"skipped": 40}
    assert len(caplog.messages) == 5
    assert "further ones are only counted" in caplog.messages[-1]


def test_where_none_can_be_read_the_first_is_named(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(SourceError, match=r"0\.png: not an image"):
        open_source(tmp_path)


def test_images_of_other_sizes_are_counted(tmp_path: Path) -> None:
    for number, size in enumerate([(16, 24), (16, 24), (16, 32), (16, 24)]):
        write(tmp_path / f"{number}.png", texture(*size))
    with open_source(tmp_path) as source:
        list(source.frames())
        assert source.incidents.counts() == {"resized": 2}


# Depth


def with_significant_bits(path: Path, *bits: int) -> None:
    """Put an sBIT chunk behind a PNG's header."""
    data = path.read_bytes()
    content = b"sBIT" + bytes(bits)
    chunk = struct.pack(">I", len(bits)) + content + struct.pack(">I", zlib.crc32(content))
    path.write_bytes(data[:33] + chunk + data[33:])


def ramp(bits: int) -> npt.NDArray[np.uint16]:
    """All values of so many bits, three channels alike."""
    return np.repeat(np.arange(1 << bits, dtype=np.uint16).reshape(16, -1, 1), 3, axis=2)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_sixteen_bits_of_which_fewer_are_significant(
    tmp_path: Path, bits: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.png", ramp(bits))
    with_significant_bits(path, bits, bits, bits)
    (frame,) = read(path)
    np.testing.assert_array_equal(frame.rgb, ramp(bits) >> (bits - 8))
    assert not caplog.messages


@pytest.mark.parametrize("how", ["zeros", "repeated"])
def test_samples_scaled_as_the_specification_wants_them_stay(tmp_path: Path, how: str) -> None:
    # Dark as well as whole: brightness must not jump where nothing of a frame is bright.
    for largest in (4095, 255, 60):
        values = np.minimum(ramp(12), largest)
        scaled = values << 4 if how == "zeros" else values << 4 | values >> 8
        path = write(tmp_path / "a.png", scaled)
        with_significant_bits(path, 12, 12, 12)
        np.testing.assert_array_equal(read(path)[0].rgb, scaled >> 8)


def test_a_grey_image_with_significant_bits(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", ramp(12)[..., 0])
    with_significant_bits(path, 12)
    np.testing.assert_array_equal(read_image(path), ramp(12) >> 4)


def test_nearly_black_images_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.png", ramp(12))
    assert read(tmp_path)[0].rgb.max() == 15
    (line,) = caplog.messages
    assert "0.png: its values take 12 of 16 bits" in line
    assert "sBIT" in line


@pytest.mark.parametrize("largest", [0, 65535, 40000])
def test_images_of_sixteen_bits(tmp_path: Path, largest: int, caplog: pytest.LogCaptureFixture) -> None:
    picture = np.linspace(0, largest, 16 * 24 * 3).reshape(16, 24, 3).astype(np.uint16)
    for suffix in ("png", "tif", "ppm"):
        np.testing.assert_array_equal(read(write(tmp_path / f"a.{suffix}", picture))[0].rgb, picture >> 8)
    assert not caplog.messages


@pytest.mark.parametrize("largest", [1, 15, 100, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("magic", [b"P5", b"P6", b"P2", b"P3"])
def test_netpbm_says_its_largest_value(tmp_path: Path, magic: bytes, largest: int) -> None:
    values = [0, largest // 3, largest // 2, largest]
    channels = 3 if magic in (b"P3", b"P6") else 1
    head = magic + f"\n# a comment with 3 numbers\n4 1\n{largest}\n".encode()
    samples = [value for value in values for _ in range(channels)]
    if magic in (b"P2", b"P3"):
        body = " ".join(map(str, samples)).encode() + b"\n"
    else:
        body = np.array(samples, ">u2" if largest > 255 else "u1").tobytes()
    (tmp_path / "a.ppm").write_bytes(head + body)
    (frame,) = read(tmp_path)
    expected = [round(value / largest * 255) for value in values]
    by_opencv = largest == 65535 or (magic in (b"P2", b"P3") and largest < 256)  # which rounds down
    np.testing.assert_allclose(frame.rgb[0, :, 0].astype(int), expected, atol=1 if by_opencv else 0.5)


def test_reading_says_nothing_of_ordinary_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write(tmp_path / "a.jpg", texture(16, 24))
    read(tmp_path)
    assert not caplog.messages
