"""Opening whatever a caller calls a video."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from arseg_edge.errors import SourceError, UsageError
from arseg_edge.runtime.decoded_frame import DecodedFrame
from arseg_edge.runtime.sources.base import Source
from arseg_edge.runtime.sources.images import ImageSource
from arseg_edge.runtime.sources.iterable import IterableSource, Picture
from arseg_edge.runtime.sources.video import VideoSource

__all__ = ["DecodedFrame", "Source", "SourceLike", "open_source"]

SourceLike: TypeAlias = "str | os.PathLike[str] | Iterable[Picture]"
"""A video file, a directory of images, a URL, or an iterable of RGB uint8 [H, W, 3] and ``av.VideoFrame``."""


def open_source(source: SourceLike) -> Source:
    """Open a source and look at what it holds, without decoding it yet.

    Raises:
        SourceError: no such path, not readable, not a video, no video stream, no images in the directory.
        CodecError: nothing here decodes the video.
        UsageError: not a source at all.
    """
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name):
            return VideoSource(name)
        path = Path(name)
        try:
            path.stat()
            return ImageSource(path) if path.is_dir() else VideoSource(name)
        except SourceError:
            raise
        except OSError as error:
            raise SourceError(f"{name}: {error.strerror}; check the path and its permissions") from None
    if isinstance(source, Iterable):
        return IterableSource(source)
    raise UsageError(
        f"source of type {type(source).__name__}: give a path, a URL, or an iterable of RGB arrays or av.VideoFrame"
    )
