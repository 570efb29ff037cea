"""From a decoded picture to RGB and back, by FFmpeg's own ``scale`` filter.

The matrix (BT.601, BT.709, ...) and the range are those that the stream names; where it names none, they
are what ffmpeg takes: BT.601, limited range. The filter and not PyAV's ``reformat``, which upsamples the
chroma of 10-bit pictures otherwise than ffmpeg does; both take the same time.
"""

from __future__ import annotations

import threading
from fractions import Fraction
from typing import Final

import av
import av.filter
import numpy as np
import numpy.typing as npt
from av.video.codeccontext import VideoCodecContext

from arseg_edge.results import BT709, Colour
from arseg_edge.runtime.source.hdr import tone_mapped
from arseg_edge.runtime.source.resizing import is_smaller

_TIME_BASE = Fraction(1, 25)  # a filter graph must have one; the time of a picture does not matter here

_MATRICES: Final = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 2: "bt601"}
"""libswscale's names; 2, not named, is BT.601, as on the way to RGB."""


def colour_of(picture: av.VideoFrame, decoder: VideoCodecContext | None = None) -> Colour:
    """What a picture says of its colours; ``decoder`` is asked where this PyAV's pictures do not."""
    primaries = getattr(picture, "color_primaries", None)
    transfer = getattr(picture, "color_trc", None)
    if decoder is not None:
        primaries = decoder.color_primaries if primaries is None else primaries
        transfer = decoder.color_trc if transfer is None else transfer
    return Colour(
        primaries=2 if primaries is None else int(primaries),
        transfer=2 if transfer is None else int(transfer),
        matrix=int(picture.colorspace),
        full_range=int(picture.color_range) == 2,  # AVCOL_RANGE_JPEG
    )


class _Converter(threading.local):
    """One filter graph a thread, for pictures of one kind: setting one up takes longer than a conversion."""

    def __init__(self) -> None:
        self._kind: tuple[object, ...] = ()
        self._graph = av.filter.Graph()

    def convert(self, picture: av.VideoFrame, scale: str, pix_fmt: str) -> av.VideoFrame:
        """``scale`` is what the filter of that name is to do."""
        kind = (
            *(picture.width, picture.height, picture.format.name),
            *(picture.colorspace, picture.color_range, scale, pix_fmt),
        )
        if kind != self._kind:
            graph = av.filter.Graph()
            if hasattr(graph, "threads"):  # from PyAV 17 on
                graph.threads = 1  # the cores have other work, and sharing this out takes a quarter more
            source = graph.add_buffer(
                width=picture.width, height=picture.height, format=picture.format, time_base=_TIME_BASE
            )
            # "format" makes the graph put a "scale" before it, where there is none.
            scales = [graph.add("scale", scale)] if scale else []
            graph.link_nodes(source, *scales, graph.add("format", pix_fmt), graph.add("buffersink")).configure()
            self._kind, self._graph = kind, graph
        self._graph.vpush(picture)
        return self._graph.vpull()


_to_rgb = _Converter()
_to_video = _Converter()


def to_rgb(
    picture: av.VideoFrame, colour: Colour | None = None, size: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    """The picture as uint8 [H, W, 3], RGB, 0 to 255 (full range); with ``size`` (H, W), resized to it.

    ``colour`` is what ``colour_of`` says of it as it was decoded; PQ and HLG become SDR (``source/hdr.py``).
    """
    scale = ""
    if size is not None and size != (picture.height, picture.width):
        flags = "area" if is_smaller(size, picture.height, picture.width) else "bilinear"
        scale = f"{size[1]}:{size[0]}:flags={flags}"
    if colour is not None and colour.is_hdr:
        # In planes: libswscale 9.1 gives wrong colours, at times, where it packs 16 bits.
        return tone_mapped(np.asarray(_to_rgb.convert(picture, scale, "gbrp16le").to_ndarray(), np.uint16), colour)
    return np.ascontiguousarray(_to_rgb.convert(picture, scale, "rgb24").to_ndarray(), dtype=np.uint8)


def encoded_as(colour: Colour | None) -> Colour:
    """With which colours RGB from a source of ``colour`` becomes 4:2:0 video; BT.709 where it gave RGB."""
    if colour is None:
        return BT709
    shown = colour.of_rgb
    if shown.matrix in _MATRICES:
        return shown
    # RGB as it is (0) has no matrix, and libswscale does not know all others.
    return Colour(shown.primaries, shown.transfer, BT709.matrix, full_range=False)


def to_yuv420p(rgb: npt.NDArray[np.uint8], size: tuple[int, int], colour: Colour) -> av.VideoFrame:
    """uint8 [H, W, 3] scaled to ``size`` (height, width), as 4:2:0 video of that matrix and range."""
    matrix, levels = _MATRICES[colour.matrix], "full" if colour.full_range else "limited"
    options = f"{size[1]}:{size[0]}:out_color_matrix={matrix}:out_range={levels}"
    return _to_video.convert(av.VideoFrame.from_ndarray(rgb, format="rgb24"), options, "yuv420p")
