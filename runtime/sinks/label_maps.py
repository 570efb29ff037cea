"""Label maps as palette PNGs."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from arseg_edge.runtime.sinks.file_sink import FileSink
from arseg_edge.runtime.sinks.palette import Palette, palette_table
from arseg_edge.runtime.sinks.palette_png import palette_png
from arseg_edge.runtime.sinks.pending import PendingPath
from arseg_edge.runtime.sinks.sink import ResultLike, source_name


class LabelMapSink(FileSink):
    """Writes ``000000.png``, ``000001.png``, … by frame index, or by the names of images: the pixel value is the class.

    The map of ``a/001.jpg`` is ``a/001.png``; where there is ``a/001.bmp`` too, the two are ``a/001.jpg.png`` and
    ``a/001.bmp.png``.

    8-bit palette PNGs, so viewers show class colours and programs read class numbers (in OpenCV, which
    expands palettes, only the colours).

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
        path = self._path(result)
        png = palette_png(result.labels, self._table)
        # Ctrl-C keeps the maps so far, and so does a process that is killed: all of them must be whole.
        unfinished = self._pending.temporary / ".unfinished"
        try:
            unfinished.write_bytes(png)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        self._pending.written(path)

    def _path(self, result: ResultLike) -> Path:
        """Where the map of a result goes."""
        folder, name = self._pending.temporary, source_name(result)
        if name is None:
            return folder / f"{result.index:06d}.png"
        image = PurePosixPath(name)
        if image.is_absolute() or ".." in image.parts:
            image = PurePosixPath(image.name)
        target = image.with_suffix(".png")
        if (other := self._images.setdefault(target, str(image))) != str(image):
            if (folder / target).exists():
                (folder / target).replace(folder / f"{other}.png")
            target = PurePosixPath(f"{image}.png")
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        return folder / target


def _maps_of(directory: Path) -> str:
    count = sum(1 for _ in directory.rglob("*.png"))
    return f"{count} label maps"
