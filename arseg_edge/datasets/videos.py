"""Videos without labels: a file, or all that a folder and its subfolders hold."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Final

from arseg_edge.errors import DatasetError
from arseg_edge.runtime.source.picture_files import natural_order

VIDEO_SUFFIXES: Final = frozenset(
    {
        ".264", ".265", ".3gp", ".asf", ".avc", ".avi", ".flv", ".h264", ".h265", ".hevc", ".ivf", ".m2t", ".m2ts",
        ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv",
        ".ts", ".vob", ".webm", ".wmv", ".y4m",
    }
)  # fmt: skip
"""What files in a folder must end in to be taken for videos; a file that is named itself may be called anything."""
_NAMED: Final = 3


def find_videos(path: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Return the videos of a folder in natural order (2 before 10), or the one file.

    Hidden files and folders are passed over, and files of other kinds.

    Raises:
        DatasetError: no such path, a folder that cannot be read, or one without a video.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.exists():
            raise DatasetError(f"{path}: no such file or folder: give a video, or a folder that holds some")
        return (path,)
    others: Counter[str] = Counter()
    videos = []
    for folder, folders, names in os.walk(path, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            suffix = Path(name).suffix.lower()
            if name.startswith("."):
                continue
            if suffix in VIDEO_SUFFIXES:
                videos.append(Path(folder) / name)
            else:
                others[suffix or name] += 1
    if not videos:
        kinds = ", ".join(kind for kind, _ in others.most_common(_NAMED)) + (", …" if len(others) > _NAMED else "")
        found = f"no video in it, only files of other kinds ({kinds})" if others else "the folder is empty"
        raise DatasetError(f"{path}: {found}: put videos there, such as .mp4 or .mkv, or name another folder")
    return tuple(
        sorted(videos, key=lambda video: [natural_order(Path(part)) for part in video.relative_to(path).parts])
    )


def _refuse(error: OSError) -> None:
    raise DatasetError(f"{error.filename}: {error.strerror}; check the path and its permissions")
