"""Where a run's outputs go: the overlay's default name, and the names that are refused since they destroy something."""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from arseg_edge.errors import UsageError

if TYPE_CHECKING:
    from arseg_edge.runtime.source.open_source import Source

_LONGEST_NAME: Final = 255
"""Bytes that a name may have on the file systems in use."""


def check_named(video: str) -> None:
    """Raise UsageError for a source that gives no name to an output: standard input, an address, a device."""
    from arseg_edge.runtime.source.location import local_path, scheme, shown

    path = None if video == "-" else local_path(video)
    if path is None or (scheme(video) is None and video.startswith("/dev/")):
        raise UsageError(f"{shown(video)} gives no name to an output: give -o, --labels or --frames")


def default_output(source: Source) -> Path:
    """The overlay beside nothing else: in the working directory, named after the source."""
    first = source.files[0]
    if len(source.files) == 1 and str(first) == source.name:
        stem, suffix = first.stem, ".png" if source.still else ".mp4"
    else:
        # Resolved, so that a directory named . has a name too.
        stem, suffix = Path(os.path.commonpath([path.resolve().parent for path in source.files])).name, ".mp4"
    ending = f"-labels{suffix}"
    room = _LONGEST_NAME - len(ending)
    if len(os.fsencode(stem)) > room:
        stem = os.fsencode(stem)[:room].decode(errors="ignore")
    return Path(stem + ending)


def check_targets(source: Source, bundle: Path, targets: list[Path], labels: Path | None) -> None:
    """Refuse outputs that would take the place of what is read, or of one another, by whatever name or link.

    Args:
        source: what is read.
        bundle: the bundle that is run.
        targets: all outputs on this machine.
        labels: the one of them that is a directory.

    Raises:
        UsageError: one of them does.
    """
    taken: dict[Hashable, str] = {_identity(bundle): "the bundle"}
    what = "the video itself" if len(source.files) == 1 else "an image of the source"
    taken.update((_identity(path), what) for path in source.files)
    folders = {_identity(path.parent) for path in source.files} if len(source.files) > 1 else set()
    for target in targets:
        identity = _identity(target)
        if identity in taken:
            raise UsageError(f"{target} is {taken[identity]}: name another output")
        taken[identity] = "named for two outputs"
        if target is labels and identity in folders:
            raise UsageError(f"{target} holds the images of the source: name another directory for label maps")
        if (
            labels is not None
            and target is not labels
            and _identity(labels) in map(_identity, target.absolute().parents)
        ):
            raise UsageError(f"{target} lies in the directory for label maps: name another output")


def _identity(path: Path) -> Hashable:
    """What all names and links of one file have in common, also of one that is not there yet."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return os.path.normcase(os.path.realpath(path))
    return status.st_dev, status.st_ino
