"""An image, or a directory of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.errors import SourceError
from arseg_edge.runtime.source.base import Source
from arseg_edge.runtime.source.decoded_frame import DecodedFrame

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})


class ImageSource(Source):
    """One image, or those of a directory in natural order (2 before 10), at the nominal rate."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._paths = [path]
        if path.is_dir():
            self._paths = sorted((p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=natural_order)
        if not self._paths:
            kinds = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
            raise SourceError(f"{path}: no images in this directory; it needs files of {kinds}")
        self.frame_count = len(self._paths)
        self.height, self.width = read_image(self._paths[0]).shape[:2]

    def frames(self) -> Iterator[DecodedFrame]:  # noqa: D102 - as in the base class
        for index, path in enumerate(self._paths):
            yield DecodedFrame(index, index, self.time_base, read_image(path))


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Return an image as RGB uint8 [H, W, 3], turned upright where the file says so.

    Raises ``SourceError`` for a file that is missing, not readable or not an image.
    """
    try:
        # Not cv2.imread: on Windows it takes ASCII paths only.
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}; check the path and its permissions") from None
    except cv2.error:
        image = None
    if image is None:
        raise SourceError(f"{path}: not an image that OpenCV can read; repair or remove it")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts numbers within names by value, and equal ones (7, 07) by their spelling."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name
