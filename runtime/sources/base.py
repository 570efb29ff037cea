"""What every source of frames offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Final

from arseg_edge.runtime.decoded_frame import DecodedFrame

NOMINAL_RATE: Final = Fraction(25)
"""Frames a second where a source has no times of its own."""


class Source(ABC):
    """An opened source; a context manager, to be read once."""

    name: str
    codec: str | None = None
    """The decoder; None where no video codec is at work."""
    width: int | None = None
    height: int | None = None
    """Of the first frame, as far as known before reading; every frame carries its own size."""
    frame_rate: Fraction | None = NOMINAL_RATE
    """Frames a second, exact; None where the stream does not say."""
    time_base: Fraction = 1 / NOMINAL_RATE
    """Seconds in one unit of ``pts``."""
    frame_count: int | None = None
    """An estimate, for a progress display."""

    @abstractmethod
    def frames(self) -> Iterator[DecodedFrame]:
        """All frames in display order.

        Raises:
            SourceError: when reading fails, or at the end when not a single frame came.
            CodecError: at the end, when there was data but nothing of it could be decoded.
            FrameError: when an iterable gives something that is not a frame.
            SequenceError: after ``close``.
        """

    def close(self) -> None:  # noqa: B027 - most sources hold nothing open
        """Release what is open; safe to call twice and in the middle of ``frames``."""

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Clock:
    """Gives each frame a timestamp later than the one before: missing ones are filled in, others raised."""

    def __init__(self, time_base: Fraction, rate: Fraction | None) -> None:
        self._step = max(1, round(1 / ((rate or NOMINAL_RATE) * time_base)))
        self._last: int | None = None

    def stamp(self, pts: int | None) -> int:
        """The timestamp to use for a frame that the stream stamps with ``pts``."""
        if pts is None:
            pts = 0 if self._last is None else self._last + self._step
        elif self._last is not None:
            pts = max(pts, self._last + 1)
        self._last = pts
        return pts
