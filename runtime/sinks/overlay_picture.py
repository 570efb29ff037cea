"""One frame with the class colours laid over it, as a picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import cv2

from arseg_edge.errors import UsageError
from arseg_edge.runtime.sinks.blend import Blend
from arseg_edge.runtime.sinks.file_sink import FileSink
from arseg_edge.runtime.sinks.palette import Palette
from arseg_edge.runtime.sinks.pending import PendingPath
from arseg_edge.runtime.sinks.sink import ResultLike

PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")


class OverlayPictureSink(FileSink):
    """Writes one result as a picture of the frame's own size.

    Args:
        path: the picture; the suffix (.png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff, .ppm) says of which kind.
        palette: RGB colour of each class, uint8 [classes, 3] or rows of three integers.
        opacity: of the class colours, from 0 (only the frame) to 1 (only the colours).

    Raises:
        OutputError: the file cannot be written.
        UsageError: palette, opacity or suffix make no sense, or a second result comes.
    """

    def __init__(self, path: str | os.PathLike[str], palette: Palette, opacity: float = 0.5) -> None:
        self._blend = Blend(palette, opacity)
        self._suffix = Path(path).suffix.lower()
        if self._suffix not in PICTURE_SUFFIXES:
            raise UsageError(f"{os.fspath(path)!r} does not end as a picture; use {', '.join(PICTURE_SUFFIXES)}")
        self._pending = PendingPath(path)
        self._written = False
        super().__init__(self._pending)

    def _write(self, result: ResultLike) -> None:
        if self._written:
            raise UsageError(f"{self._pending.name!r} is a picture, and there is a second frame; name a video")
        blend = cv2.cvtColor(self._blend(result.rgb, result.labels), cv2.COLOR_RGB2BGR)
        self._pending.temporary.write_bytes(cv2.imencode(self._suffix, blend)[1].tobytes())
        self._written = True

    def _finish(self, *, keep: bool) -> bool:
        return keep and self._written
