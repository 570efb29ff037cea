from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from dataset_pictures import write_picture

from arseg_edge.datasets.label_picture import png_size, read_label_picture
from arseg_edge.errors import DatasetError


def grey_png(depth: int, values: list[int]) -> bytes:
    """One row of grey values, packed by hand: of 1, 2 or 4 bits, which OpenCV cannot write."""
    bits = "".join(f"{value:0{depth}b}" for value in values)
    row = int(bits, 2).to_bytes(len(bits) // 8, "big")

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", len(values), 1, depth, 0, 0, 0, 0)
    data = zlib.compress(b"\0" + row)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("depth", "values"), [(1, [0, 1, 1, 0, 0, 0, 0, 1]), (2, [0, 1, 2, 3]), (4, [0, 5, 9, 15])])
def test_few_bits_are_values_and_not_shades(tmp_path: Path, depth: int, values: list[int]) -> None:
    path = tmp_path / "few.png"
    path.write_bytes(grey_png(depth, values))
    assert read_label_picture(path).tolist() == [values]


def test_grey_and_colours_come_as_they_were_written(tmp_path: Path) -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    colours = np.arange(144, dtype=np.uint8).reshape(6, 8, 3)
    assert (read_label_picture(write_picture(tmp_path / "grey.png", grey)) == grey).all()
    assert (read_label_picture(write_picture(tmp_path / "colours.png", colours)) == colours).all()


def test_transparency_is_no_colour(tmp_path: Path) -> None:
    colours = np.full((6, 8, 4), 200, np.uint8)
    colours[..., :3] = (30, 20, 10)  # as OpenCV takes them: blue first
    assert cv2_write(tmp_path / "alpha.png", colours)
    assert (read_label_picture(tmp_path / "alpha.png") == (10, 20, 30)).all()


def cv2_write(path: Path, picture: npt.NDArray[np.generic]) -> bool:
    return cv2.imwrite(str(path), picture)


def test_size_is_read_from_the_header(tmp_path: Path) -> None:
    assert png_size(write_picture(tmp_path / "a.png", np.zeros((6, 8), np.uint8))) == (6, 8)
    assert png_size(write_picture(tmp_path / "a.jpg", np.zeros((6, 8), np.uint8))) is None


def test_what_is_no_label(tmp_path: Path) -> None:
    deep = tmp_path / "deep.png"
    assert cv2_write(deep, np.zeros((6, 8), np.uint16))
    cut = write_picture(tmp_path / "cut.png", np.zeros((6, 8), np.uint8))
    cut.write_bytes(cut.read_bytes()[:30])
    for path, problem in (
        (deep, "16 bits a channel"),
        (cut, "not a PNG that OpenCV can read"),
        (write_picture(tmp_path / "lossy.jpg", np.zeros((6, 8), np.uint8)), "labels must be a PNG"),
        (tmp_path / "absent.png", "No such file or directory"),
    ):
        with pytest.raises(DatasetError, match=problem) as raised:
            read_label_picture(path)
        assert str(path) in str(raised.value)
    with pytest.raises(DatasetError, match=r"absent.png"):
        png_size(tmp_path / "absent.png")
