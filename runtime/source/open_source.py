"""Opening whatever a caller calls a video."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from arseg_edge.errors import SourceError, UsageError
from arseg_edge.runtime.source.base import Source
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.images import IMAGE_SUFFIXES, ImageSource
from arseg_edge.runtime.source.iterable import IterableSource, Picture
from arseg_edge.runtime.source.network import STANDARD_INPUT, NetworkSource, is_device, scheme, shown
from arseg_edge.runtime.source.video import VideoSource

__all__ = ["DecodedFrame", "Source", "SourceLike", "open_source", "shown"]

SourceLike: TypeAlias = "str | os.PathLike[str] | Iterable[Picture]"
"""A video or image file, a directory of images, a URL, a capture device (``/dev/video0``), ``-`` for standard input,
or an iterable of RGB uint8 [H, W, 3] and ``av.VideoFrame``."""


def open_source(source: SourceLike) -> Source:
    """Open a source and look at what it holds, without decoding it yet.

    Raises:
        SourceError: no such path, not readable, not a video, no video stream, no images in the directory.
        CodecError: nothing here decodes the video.
        UsageError: not a source at all.
    """
    if isinstance(source, (str, os.PathLike)):
        return _open(os.fspath(source))
    if isinstance(source, Iterable):
        return IterableSource(source)
    raise UsageError(
        f"source of type {type(source).__name__}: give a path, a URL, or an iterable of RGB arrays or av.VideoFrame"
    )


def _open(location: str) -> Source:
    if location == STANDARD_INPUT or scheme(location) not in (None, "file"):
        return NetworkSource(location)
    if scheme(location) == "file":
        return VideoSource(location)
    path = Path(location)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode) or path.suffix.lower() in IMAGE_SUFFIXES:
            return ImageSource(path)
        if stat.S_ISFIFO(mode) or is_device(location):
            return NetworkSource(location)
        return VideoSource(location)
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"{location}: {error.strerror}; check the path and its permissions") from None
