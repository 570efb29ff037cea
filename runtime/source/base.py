"""What every source of frames offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Final

from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.incidents import Incidents

NOMINAL_RATE: Final = Fraction(25)
"""Frames a second where a source has no times of its own."""


class Source(ABC):
    """An opened source; a context manager, to be read once.

    Where reading was left early, ``frames`` can be called again: a video goes on about where it was left, anything else
    from its start. Frames are then counted from 0 again.
    """

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
    references: int | None = None
    """How many frames at most a P-frame can refer to; None where that does not show."""
    live: bool = False
    """Frames come when they happen: who falls behind must leave some out. Known once it is opened."""
    files: Sequence[Path] = ()
    """What it reads on this machine: no output may take the place of one of these."""
    at_hand: bool = False
    """All of it is there already: what follows need not be waited for."""
    still: bool = False
    """It is a single image."""
    strict: bool = False
    """Whether what cannot be read ends it, instead of being left out; to be set before reading."""
    reconnects: int = 0
    """How often a live source was lost and found again, so far."""
    waited: float = 0.0
    """Seconds spent waiting for data that had not come, so far."""

    @cached_property
    def incidents(self) -> Incidents:
        """What was not as it should be so far; whoever notices something notes it here."""
        return Incidents()

    @abstractmethod
    def frames(self) -> Iterator[DecodedFrame]:
        """All frames in display order.

        Raises:
            SourceError: when reading fails, or at the end when not a single frame came.
            CodecError: at the end, when there was data but nothing of it could be decoded.
            FrameError: when an iterable gives something that is not a frame.
            SequenceError: after ``close``.
        """

    def timed_frames(self) -> Iterator[tuple[DecodedFrame, float]]:
        """Each frame with the milliseconds that reading and decoding took, without waiting for data.

        Raises: as ``frames``.
        """
        frames = self.frames()
        while True:
            start, waited = perf_counter(), self.waited
            frame = next(frames, None)
            if frame is None:
                return
            yield frame, (perf_counter() - start - (self.waited - waited)) * 1e3

    def interrupt(self) -> None:  # noqa: B027 - most sources never wait
        """Make ``frames`` end soon where it waits for data, until ``resume``; any thread may call these two."""

    def resume(self) -> None:  # noqa: B027 - most sources never wait
        """Let ``frames`` be called again after ``interrupt``: reading goes on with what comes next."""

    def close(self) -> None:  # noqa: B027 - most sources hold nothing open
        """Release what is open; safe to call twice and in the middle of ``frames``."""

    def let_go(self) -> None:
        """Release what is open, without waiting for anything: it may be done a little later."""
        self.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
