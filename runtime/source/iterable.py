"""Frames of the caller's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from itertools import chain
from typing import TypeAlias

import av
import numpy as np
import numpy.typing as npt

from arseg_edge.errors import FrameError, SourceError
from arseg_edge.runtime.source.base import Source
from arseg_edge.runtime.source.clock import Clock, rescaled
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.pictures import Pictures

GivenPicture: TypeAlias = "av.VideoFrame | npt.NDArray[np.uint8]"


class IterableSource(Source):
    """RGB arrays, at the nominal rate, or ``av.VideoFrame``, which keep their time and time base.

    Such a frame also keeps its motion vectors, picture type and rotation, where its decoder exports them. Which
    frames its vectors point to is not known here.
    """

    def __init__(self, pictures: Iterable[GivenPicture]) -> None:
        self.name = type(pictures).__name__
        self._pictures = pictures
        if isinstance(pictures, Sized):
            self.frame_count = len(pictures)

    def frames(self) -> Iterator[DecodedFrame]:  # noqa: D102 - as in the base class
        pictures = iter(self._pictures)
        first = next(pictures, None)
        if first is None:
            raise SourceError(f"{self.name}: no frames in it; give at least one")
        if isinstance(first, av.VideoFrame) and first.pts is not None and first.time_base is not None:
            self.time_base = first.time_base
        clock = Clock(self.name, self.time_base, self.frame_rate, self.incidents, from_first=True)
        yield from clock.steady(self._decoded(chain([first], pictures)))

    def _decoded(self, given: Iterable[GivenPicture]) -> Iterator[DecodedFrame]:
        """All frames with the times of their own."""
        pictures = Pictures(self.incidents)
        for index, picture in enumerate(given):
            if isinstance(picture, av.VideoFrame):
                own = rescaled(picture.pts, picture.time_base, self.time_base)
                yield pictures.frame(picture, index, own, self.time_base)
            else:
                _check(picture, index)
                yield DecodedFrame(index, 0, self.time_base, picture)  # the clock says ``pts``


def _check(picture: object, index: int) -> None:
    if not isinstance(picture, np.ndarray):
        found = type(picture).__name__
    elif picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        found = f"{picture.dtype} {list(picture.shape)}"
    else:
        return
    raise FrameError(f"frame {index} is {found}; give RGB arrays, uint8 [H, W, 3], or av.VideoFrame")
