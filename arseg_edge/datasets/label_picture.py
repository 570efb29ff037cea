"""The raw values of a label image."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from arseg_edge.errors import DatasetError

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER: Final = 26
"""Bytes of a PNG up to its colour type: signature, chunk length and name, width, height, depth, type."""


def read_label_picture(path: Path) -> NDArray[np.uint8]:
    """Return the values of a grey PNG, uint8 [H, W], or the colours of any other, RGB uint8 [H, W, 3].

    A PNG with a palette counts as coloured: its colours are what the labels mean.

    Raises:
        DatasetError: the file is missing, not readable, not a PNG, or has 16 bits a channel.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}; check the path and its permissions") from None
    # Nothing that loses values in coding can hold labels.
    if len(data) < _HEADER or not data.startswith(_SIGNATURE):
        raise DatasetError(f"{path}: labels must be a PNG; convert it")
    depth, kind = data[24], data[25]
    if depth > 8:
        raise DatasetError(f"{path}: {depth} bits a channel; labels have 8 at most: convert it")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        picture = None
    if picture is None:
        raise DatasetError(f"{path}: not a PNG that OpenCV can read; repair or remove it")
    if picture.ndim == 2:
        # OpenCV stretches the values of 1, 2 and 4 bits to 0 … 255.
        stretch = 255 // ((1 << depth) - 1) if kind == 0 else 1
        return np.asarray(picture // stretch, np.uint8)
    return np.asarray(picture[..., 2::-1], np.uint8)


def png_size(path: Path) -> tuple[int, int] | None:
    """Return (height, width) as the header of a PNG says; None for another kind of file.

    Raises:
        DatasetError: the file is missing or not readable.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_HEADER)
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}; check the path and its permissions") from None
    if len(data) < _HEADER or not data.startswith(_SIGNATURE):
        return None
    return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
