"""Opening whatever a caller calls a video."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeAlias

from arseg_edge.errors import SourceError, UsageError
from arseg_edge.runtime.source.base import Source
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.images import ImageSource
from arseg_edge.runtime.source.iterable import GivenPicture, IterableSource
from arseg_edge.runtime.source.location import STANDARD_INPUT, local_path, protocol, shown
from arseg_edge.runtime.source.network import NetworkSource
from arseg_edge.runtime.source.picture_files import IMAGE_SUFFIXES, is_pattern
from arseg_edge.runtime.source.video import VideoSource

__all__ = ["DecodedFrame", "Source", "SourceLike", "open_source", "shown"]

SourceLike: TypeAlias = "str | os.PathLike[str] | Iterable[GivenPicture]"
"""A video or image file, a directory of images, a pattern of their names (``frames/*.png``, ``frames/%05d.jpg``), a
URL, a capture device (``/dev/video0``), a session description (``.sdp``), ``-`` for standard input, or an iterable of
RGB uint8 [H, W, 3] and ``av.VideoFrame``."""


def open_source(source: SourceLike, *, strict: bool = False) -> Source:
    """Open a source and look at what it holds, of a video file the first frame.

    Args:
        source: what to open.
        strict: an image of a directory that cannot be read ends the source, instead of being left out.

    Raises:
        SourceError: no such path, not readable, not a video, no video stream, no images in the directory.
        CodecError: nothing here decodes the video.
        UsageError: not a source at all.
    """
    if isinstance(source, (str, os.PathLike)):
        opened = _open(os.fspath(source))
        opened.strict = strict
        return opened
    if isinstance(source, Iterable):
        return IterableSource(source)
    raise UsageError(
        f"source of type {type(source).__name__}: give a path, a URL, or an iterable of RGB arrays or av.VideoFrame"
    )


def _open(location: str) -> Source:
    path = None if location == STANDARD_INPUT else local_path(location)
    if path is None:
        return NetworkSource(location)
    try:
        if is_pattern(path) and not os.path.lexists(path):
            return ImageSource(path)
        path.stat()
        if protocol(location) != "file":
            return NetworkSource(location)
        if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
            return ImageSource(path)
        return VideoSource(path)
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"{location}: {error.strerror}; check the path and its permissions") from None
