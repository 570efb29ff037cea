"""Label maps as palette PNGs."""

from __future__ import annotations

import os
from pathlib import Path

from arseg_edge.runtime.sinks.file_sink import FileSink
from arseg_edge.runtime.sinks.palette import Palette, palette_table
from arseg_edge.runtime.sinks.palette_png import palette_png
from arseg_edge.runtime.sinks.pending import PendingPath
from arseg_edge.runtime.sinks.sink import ResultLike


class LabelMapSink(FileSink):
    """Writes ``000000.png``, ``000001.png``, … by frame index: the pixel value is the class.

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
        super().__init__(self._pending)

    def _write(self, result: ResultLike) -> None:
        path = self._pending.temporary / f"{result.index:06d}.png"
        png = palette_png(result.labels, self._table)
        # Ctrl-C keeps the maps so far, and so does a process that is killed: all of them must be whole.
        unfinished = path.with_suffix(".unfinished")
        try:
            unfinished.write_bytes(png)
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        self._pending.written(path)


def _maps_of(directory: Path) -> str:
    count = sum(1 for _ in directory.glob("*.png"))
    return f"{count} label maps"
