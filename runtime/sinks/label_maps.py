"""Label maps as palette PNGs, and how sure they are as grey ones."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Final

from arseg_edge.errors import OutputError
from arseg_edge.runtime.sinks.file_sink import FileSink
from arseg_edge.runtime.sinks.palette import Palette, palette_table
from arseg_edge.runtime.sinks.palette_png import grey_png, palette_png
from arseg_edge.runtime.sinks.pending import PendingPath
from arseg_edge.runtime.sinks.sink import ResultLike, confidence_of, source_name

_CONFIDENCE: Final = PurePosixPath("confidence")
"""The folder, below that of the label maps."""


class LabelMapSink(FileSink):
    """Writes ``000000.png``, ``000001.png``, … by frame index, or by the names of images: the pixel value is the class.

    The map of ``a/001.jpg`` is ``a/001.png``; where there is ``a/001.bmp`` too, the two are ``a/001.jpg.png`` and
    ``a/001.bmp.png``.

    8-bit palette PNGs, so viewers show class colours and programs read class numbers (in OpenCV, which
    expands palettes, only the colours).

    Where results have their confidence, that is a grey PNG of the same name in the folder ``confidence`` below, from 0
    to 255.

    Args:
        directory: a new or an empty directory; it holds nothing until all maps are written.
        palette: RGB colour of each class, uint8 [classes, 3] or rows of three integers.

    Raises:
        OutputError: the directory is a file, holds something, or cannot be written.
        UsageError: the palette is not one.
    """

    def __init__(self, directory: str | os.PathLike[str], palette: Palette) -> None:
        self._table = palette_table(palette)
        self._pending = PendingPath(directory, directory=True, state=_maps_of)
        self._images: dict[PurePosixPath, str] = {}
        """Which image has had the map of this name."""
        super().__init__(self._pending)

    def _write(self, result: ResultLike) -> None:
        confidence = confidence_of(result)
        target = self._target(result, with_confidence=confidence is not None)
        if confidence is not None:
            self._put(_CONFIDENCE / target, grey_png(confidence))
        self._put(target, palette_png(result.labels, self._table))

    def _put(self, target: PurePosixPath, png: bytes) -> None:
        path = self._pending.temporary / target
        path.parent.mkdir(parents=True, exist_ok=True)
        # Ctrl-C keeps the maps so far, and so does a process that is killed: all of them must be whole.
        unfinished = self._pending.temporary / ".unfinished"
        try:
            unfinished.write_bytes(png)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        self._pending.written(path)

    def _target(self, result: ResultLike, *, with_confidence: bool) -> PurePosixPath:
        """Where the map of a result goes, below the directory."""
        folder, name = self._pending.temporary, source_name(result)
        if name is None:
            return PurePosixPath(f"{result.index:06d}.png")
        image = PurePosixPath(name)
        if image.is_absolute() or ".." in image.parts:
            image = PurePosixPath(image.name)
        if with_confidence and image.parts[0] == str(_CONFIDENCE):
            raise OutputError(
                f"{self._pending.name!r} cannot hold the label map of {name!r}: its folder {str(_CONFIDENCE)!r} is for "
                "how sure the labels are; give the source's folder another name, or leave the confidence out"
            )
        target = image.with_suffix(".png")
        if (other := self._images.setdefault(target, str(image))) != str(image):
            for below in (PurePosixPath(), _CONFIDENCE):
                if (folder / below / target).exists():
                    (folder / below / target).replace(folder / below / f"{other}.png")
            target = PurePosixPath(f"{image}.png")
        return target


def _maps_of(directory: Path) -> str:
    count = sum(1 for path in directory.rglob("*.png") if path.relative_to(directory).parts[0] != str(_CONFIDENCE))
    return f"{count} label maps"
