"""From a decoded picture to RGB, by libswscale.

The matrix (BT.601, BT.709, ...) and the range are those that the stream names; where it names none, they
are what ffmpeg takes: BT.601, limited range. Chroma is upsampled as ffmpeg does by default.
"""

from __future__ import annotations

import threading

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter


class _Converter(threading.local):
    """One libswscale context a thread: setting one up costs more than a conversion, sharing is unsafe."""

    def __init__(self) -> None:
        self.reformatter = VideoReformatter()


_converter = _Converter()


def to_rgb(picture: av.VideoFrame) -> npt.NDArray[np.uint8]:
    """The picture as uint8 [H, W, 3], RGB, 0 to 255 (full range)."""
    converted = _converter.reformatter.reformat(picture, format="rgb24", interpolation=Interpolation.BICUBIC)
    return np.ascontiguousarray(converted.to_ndarray(), dtype=np.uint8)
