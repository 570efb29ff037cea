"""One decoding for both schedules: each frame with its motion to the keyframe, and with its tie to the one before."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import tee

from arseg_edge.operators import Chaining
from arseg_edge.runtime.read_motion import GUARDS, MotionFrame, motion_frames
from arseg_edge.runtime.schedule.adaptive import TiedFrame
from arseg_edge.runtime.schedule.keyframes import Guards
from arseg_edge.runtime.source.base import Source
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.tied_frames import tied_frames


class Decoded(Source):
    """Frames of a source that are decoded already."""

    def __init__(self, source: Source, frames: Iterator[DecodedFrame]) -> None:
        self.name = source.name
        self._frames = frames

    def frames(self) -> Iterator[DecodedFrame]:
        """Return them."""
        return self._frames


def frames_in_step(
    source: Source, interval: int, chaining: Chaining, guards: Guards | None = GUARDS
) -> Generator[tuple[MotionFrame, TiedFrame], None, None]:
    """Decode a source that is open once, for the paper's schedule and for the adaptive one.

    Raises: as ``read_motion``.
    """
    first, second = tee(source.frames())
    frames = motion_frames(Decoded(source, first), interval, chaining, guards=guards)
    yield from zip(frames, tied_frames(Decoded(source, second), "auto"), strict=True)
