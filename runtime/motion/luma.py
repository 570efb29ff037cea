"""The small grey picture in which motion is judged by what it shows.

It comes straight from the decoder's luma plane, without a conversion to RGB, averaged down by a whole factor
so that it has about a quarter of a million pixels at most: half the size at 960x720, a third at 1920x1080.
"""

from __future__ import annotations

import math
from typing import Any, Final

import av
import cv2
import numpy as np
import numpy.typing as npt

Luma = npt.NDArray[np.uint8]
"""[h, w], as the stream codes it (limited or full range)."""

WORKING_PIXELS: Final = 1 << 18
SMALLEST: Final = 64
"""Optical flow needs some coarser pictures below it; smaller ones are enlarged."""

_EIGHT_BITS: Final = ("yuv4", "yuvj4", "nv12", "nv16", "nv21", "nv24", "gray")


def working_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the working picture of a frame."""
    factor = max(1, math.ceil(math.sqrt(height * width / WORKING_PIXELS)))
    return max(SMALLEST, round(height / factor)), max(SMALLEST, round(width / factor))


def working_luma(picture: av.VideoFrame | npt.NDArray[np.uint8]) -> Luma:
    """The working picture of a decoded frame, or of RGB [H, W, 3]."""
    plane = _plane(picture) if isinstance(picture, av.VideoFrame) else picture
    height, width = working_size(*plane.shape[:2])
    if plane.shape[:2] != (height, width):
        plane = np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA))
    return np.ascontiguousarray(_grey(plane))


def luma_plane(picture: av.VideoFrame | npt.NDArray[np.uint8]) -> Luma:
    """The brightness of a decoded frame, or of RGB [H, W, 3], at its full size."""
    return _grey(_plane(picture) if isinstance(picture, av.VideoFrame) else picture)


def _grey(plane: npt.NDArray[Any]) -> Luma:
    if plane.ndim == 3:
        return np.asarray(cv2.cvtColor(plane, cv2.COLOR_RGB2GRAY), np.uint8)
    return np.asarray(plane, np.uint8)


def _plane(picture: av.VideoFrame) -> npt.NDArray[Any]:
    name = picture.format.name
    bits = picture.format.components[0].bits
    if name.startswith(("yuv4", "yuvj4")) and name.endswith("le") and 8 < bits <= 16:
        return np.asarray(cv2.convertScaleAbs(_rows(picture, "<u2"), alpha=2.0 ** (8 - bits)))
    if bits != 8 or not name.startswith(_EIGHT_BITS):
        picture = picture.reformat(format="gray")
    return _rows(picture, "u1")


def _rows(picture: av.VideoFrame, dtype: str) -> npt.NDArray[Any]:
    plane = picture.planes[0]
    samples: npt.NDArray[Any] = np.frombuffer(memoryview(plane), dtype)
    rows = samples.reshape(plane.height, -1)
    return rows[:, : plane.width]
