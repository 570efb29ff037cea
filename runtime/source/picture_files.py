"""Which picture files a folder, a pattern or a single name means."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from arseg_edge.errors import SourceError

IMAGE_SUFFIXES: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)

_NUMBER: Final = re.compile(r"%(0?)(\d*)d")
"""A number in a pattern, as ``printf`` writes it (``%05d``)."""


@dataclass(frozen=True)
class PictureFiles:
    """Pictures in natural order (2 before 10)."""

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    """Of each, its path below the folder that all have in common, with ``/`` between the parts."""
    left_out: str
    """What else was there, by kind, for a person to read; empty where there was nothing."""


def is_pattern(path: Path) -> bool:
    """Whether it means several pictures where nothing has this very name: ``*.png``, ``%05d.jpg``."""
    return glob.has_magic(str(path)) or _NUMBER.search(path.name) is not None


def find_pictures(path: Path) -> PictureFiles:
    """Return what a folder, a pattern or the name of one picture means. Hidden files are no pictures.

    Raises:
        SourceError: there is none.
        OSError: the folder cannot be read.
    """
    if path.is_dir():
        return _chosen(path.iterdir(), path, "no images in this directory")
    if os.path.lexists(path):
        return PictureFiles((path,), (path.name,), "")
    if _NUMBER.search(path.name):
        wanted = _numbered(path.name)
        folder = path.parent
        if not folder.is_dir():
            raise SourceError(f"{path}: there is no directory {str(folder)!r}; check the path")
        return _chosen(
            (each for each in folder.iterdir() if wanted.fullmatch(each.name)), path, "no images of this name"
        )
    # Not Path.glob, which takes no absolute pattern, and gives hidden files.
    return _chosen(map(Path, glob.iglob(str(path), recursive=True)), path, "no images of this name")  # noqa: PTH207


def natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts numbers within names by value, and equal ones (7, 07) by their spelling."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def _chosen(found: Iterable[Path], path: Path, lack: str) -> PictureFiles:
    visible = [each for each in found if not each.name.startswith(".")]
    pictures = [each for each in visible if each.suffix.lower() in IMAGE_SUFFIXES and not each.is_dir()]
    if not pictures:
        kinds = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
        other = _kinds(visible)
        raise SourceError(f"{path}: {lack}{f' (but {other})' if other else ''}; it needs files of {kinds}")
    root = Path(os.path.commonpath([each.parent for each in pictures]))
    pictures.sort(key=lambda each: [natural_order(Path(part)) for part in each.relative_to(root).parts])
    return PictureFiles(
        tuple(pictures),
        tuple(each.relative_to(root).as_posix() for each in pictures),
        _kinds(set(visible) - set(pictures)),
    )


def _kinds(others: Iterable[Path]) -> str:
    kinds = Counter("directory" if each.is_dir() else each.suffix.lower() or "no suffix" for each in others)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def _numbered(name: str) -> re.Pattern[str]:
    """What a name with numbers as ``printf`` writes them matches; ``%%`` is a percent sign."""
    parts, at = [], 0
    for found in re.finditer(rf"{_NUMBER.pattern}|%%", name):
        parts.append(re.escape(name[at : found.start()]))
        at = found.end()
        width = int(found[2] or 1) if found[0] != "%%" else 0
        parts.append("%" if not width else rf"(?:\d{{{width}}}|[1-9]\d{{{width},}})" if found[1] else r"\d+")
    return re.compile("".join(parts) + re.escape(name[at:]))
