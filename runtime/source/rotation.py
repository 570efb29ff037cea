"""Pictures that a stream wants shown turned or mirrored, as a phone held upright does, and their vectors.

Both are turned here, where they enter, so that nothing after this has to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import av.filter
import numpy as np
from av.sidedata.sidedata import SideData

from arseg_edge.runtime.motion.vectors import BLOCK, VectorRecords

_TIME_BASE = Fraction(1, 25)  # a filter graph must have one; the time of a picture does not matter here


@dataclass(frozen=True)
class Turn:
    """One of the eight ways to lay a picture on a grid of pixels: transposed first, then mirrored."""

    transposed: bool = False
    """Rows become columns."""
    mirrored: bool = False
    """Left and right are exchanged."""
    flipped: bool = False
    """Top and bottom are exchanged."""

    def __bool__(self) -> bool:
        return self.transposed or self.mirrored or self.flipped


def turn_of(picture: av.VideoFrame) -> Turn | None:
    """How to show a picture, after its display matrix; angles between right ones are not followed.

    None where the picture has none: of containers every picture has the container's, but a stream can say it once
    for all that follow (the display orientation message of H.264 and HEVC).
    """
    side_data = picture.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return None
    # (x, y) is shown at (a x + c y, b x + d y): libavutil/display.h
    a, b, _, c, d = (int(value) for value in np.frombuffer(memoryview(cast(SideData, side_data)), np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Turn(True, mirrored=c < 0, flipped=b < 0)
    return Turn(mirrored=a < 0, flipped=d < 0)


class Turner:
    """Turns pictures by FFmpeg's own filters, as ffmpeg does; sets them up anew where the kind changes."""

    def __init__(self) -> None:
        self._kind: tuple[object, ...] = ()
        self._graph = av.filter.Graph()

    def turn(self, picture: av.VideoFrame, turn: Turn) -> av.VideoFrame:
        """The picture upright, in its own format; as RGB where that has no transposed form, as 4:2:2 has none."""
        kind = (
            *(picture.width, picture.height, picture.format.name),
            *(picture.colorspace, picture.color_range, turn),
        )
        if kind != self._kind:
            graph = av.filter.Graph()
            source = graph.add_buffer(
                width=picture.width, height=picture.height, format=picture.format, time_base=_TIME_BASE
            )
            filters = _filters(graph, turn)
            if turn.transposed and picture.format.chroma_width(64) != picture.format.chroma_height(64):
                filters.insert(0, graph.add("format", "rgb24"))
            graph.link_nodes(source, *filters, graph.add("buffersink")).configure()
            self._kind, self._graph = kind, graph
        self._graph.vpush(picture)
        return self._graph.vpull()


def _filters(graph: av.filter.Graph, turn: Turn) -> list[av.filter.FilterContext]:
    if turn.transposed:
        return [graph.add("transpose", str(turn.mirrored + 2 * turn.flipped))]
    # "vflip" only lets the rows run backwards in memory, where no one else expects it; both others write new ones.
    names = ["vflip"] * turn.flipped + ["hflip" if turn.mirrored else "copy"]
    return [graph.add(name) for name in names]


def turn_vectors(records: VectorRecords, turn: Turn, height: int, width: int) -> VectorRecords:
    """The records of a picture of ``height`` x ``width`` pixels, for the turned picture.

    Where a side is no multiple of the block's, mirrored blocks lie between those of the grid: each goes to the
    nearest.
    """
    turned = records.copy()
    if turn.transposed:
        for one, other in (("dst_x", "dst_y"), ("src_x", "src_y"), ("motion_x", "motion_y"), ("w", "h")):
            turned[one], turned[other] = records[other], records[one]
        height, width = width, height
    for axis, side, extent, exchanged in (("x", "w", width, turn.mirrored), ("y", "h", height, turn.flipped)):
        if not exchanged:
            continue
        half = turned[side].astype(np.int32) // 2
        start = extent - turned[f"dst_{axis}"].astype(np.int32) - half
        turned[f"dst_{axis}"] = (start + BLOCK // 2) // BLOCK * BLOCK + half
        turned[f"src_{axis}"] = extent - turned[f"src_{axis}"]
        turned[f"motion_{axis}"] = -turned[f"motion_{axis}"]
    return turned
