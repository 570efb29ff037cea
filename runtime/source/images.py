"""An image, or a directory of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.errors import SourceError
from arseg_edge.runtime.source.base import Source
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.image_depth import to_eight_bits
from arseg_edge.runtime.source.picture_files import find_pictures

log = logging.getLogger(__name__)

_REPORTS: Final = 5
"""Pictures that cannot be read are named up to here, and only counted from there on."""


class ImageSource(Source):
    """One image, or those of a directory or a pattern in natural order (2 before 10), at the nominal rate.

    An image that cannot be read is left out, unless the source is ``strict``; the one after it is marked as a
    discontinuity, and keeps its time.
    """

    at_hand = True

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        found = find_pictures(path)
        self.files, self._names = found.paths, found.names
        self.still = found.paths == (path,)
        self.frame_count = len(self.files)
        if found.left_out:
            log.warning("%s: left out what are no images: %s", self.name, found.left_out)
        self.height, self.width = self._first().shape[:2]

    def _first(self) -> npt.NDArray[np.uint8]:
        """The first image that can be read.

        Raises:
            SourceError: there is none; the error is that of the first file.
        """
        error: SourceError | None = None
        for path in self.files:
            try:
                return read_image(path)
            except SourceError as this:
                error = error or this
        raise error or SourceError(f"{self.name}: no images in it; add some")

    def frames(self) -> Iterator[DecodedFrame]:  # noqa: D102 - as in the base class
        index = skipped = 0
        broken = told = False
        size: tuple[int, ...] | None = None
        for place, (path, name) in enumerate(zip(self.files, self._names, strict=True)):
            try:
                picture, bits = _read(path)
            except SourceError as error:
                if self.strict:
                    raise
                skipped += 1
                broken = True
                self.incidents.note("skipped")
                if skipped <= _REPORTS:
                    rest = "; further ones are only counted" if skipped == _REPORTS else ""
                    log.warning("%s (left out%s)", error, rest)
                continue
            if bits is not None and not told:
                told = True
                log.warning(
                    "%s: its values take %d of 16 bits, so that it is nearly black; if it was recorded with so many, "
                    "say it in the files (PNG: chunk sBIT; PGM, PPM: largest value), or scale them to 16 bits",
                    *(path, bits),
                )
            if size not in (None, picture.shape):
                self.incidents.note("resized")
            size = picture.shape
            yield DecodedFrame(
                index=index,
                pts=place,
                time_base=self.time_base,
                picture=picture,
                discontinuity=broken and index > 0,
                source_name=name,
            )
            broken = False
            index += 1


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Return an image as RGB uint8 [H, W, 3], turned upright where the file says so.

    Raises ``SourceError`` for a file that is missing, not readable or not an image.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[npt.NDArray[np.uint8], int | None]:
    """The image, and how many of 16 bits its values take where that makes it nearly black and the file says nothing."""
    try:
        data = path.read_bytes()
        # Not cv2.imread: on Windows it takes ASCII paths only.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}; check the path and its permissions") from None
    except cv2.error:
        image = None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise SourceError(f"{path}: not an image that OpenCV can read; repair or remove it")
    eight, bits = to_eight_bits(image, data)
    return np.asarray(cv2.cvtColor(eight, cv2.COLOR_BGR2RGB), dtype=np.uint8), bits
