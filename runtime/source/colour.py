"""From a decoded picture to RGB, by FFmpeg's own ``scale`` filter.

The matrix (BT.601, BT.709, ...) and the range are those that the stream names; where it names none, they
are what ffmpeg takes: BT.601, limited range. The filter and not PyAV's ``reformat``, which upsamples the
chroma of 10-bit pictures otherwise than ffmpeg does; both take the same time.
"""

from __future__ import annotations

import threading
from fractions import Fraction

import av
import av.filter
import numpy as np
import numpy.typing as npt

_TIME_BASE = Fraction(1, 25)  # a filter graph must have one; the time of a picture does not matter here


class _Converter(threading.local):
    """One filter graph a thread, for pictures of one kind: setting one up takes longer than a conversion."""

    def __init__(self) -> None:
        self._kind: tuple[object, ...] = ()
        self._graph = av.filter.Graph()

    def convert(self, picture: av.VideoFrame, size: tuple[int, int] | None) -> av.VideoFrame:
        kind = (
            *(picture.width, picture.height, picture.format.name),
            *(picture.colorspace, picture.color_range, size),
        )
        if kind != self._kind:
            graph = av.filter.Graph()
            graph.threads = 1  # the cores have other work, and sharing this out takes a quarter more
            source = graph.add_buffer(
                width=picture.width, height=picture.height, format=picture.format, time_base=_TIME_BASE
            )
            # "format" makes the graph put a "scale" before it, where there is none.
            scale = [] if size is None else [graph.add("scale", f"{size[1]}:{size[0]}:flags=area")]
            graph.link_nodes(source, *scale, graph.add("format", "rgb24"), graph.add("buffersink")).configure()
            self._kind, self._graph = kind, graph
        self._graph.vpush(picture)
        return self._graph.vpull()


_converter = _Converter()


def to_rgb(picture: av.VideoFrame, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """The picture as uint8 [H, W, 3], RGB, 0 to 255 (full range); with ``size`` (H, W), averaged down to it."""
    return np.ascontiguousarray(_converter.convert(picture, size).to_ndarray(), dtype=np.uint8)
