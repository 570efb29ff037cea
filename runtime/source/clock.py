"""Times of frames: what a stream says of them, and what is made of that.

A stream's own time stamps can lack, be wrong for a frame, or jump where recordings were joined. :class:`Clock` gives
each frame a steady time beside it, which rises from frame to frame. Its rule, after that of FFmpeg's tool
(``-dts_delta_threshold``, ``-dts_error_threshold``):

- A time *follows* another where it is later, by 10 seconds (``NEAR``) at most. A time that follows the last good one
  is good.
- Any other is in doubt, until the next frame decides. Where the next one follows the last good time, the one in doubt
  was an **outlier**: it is ignored, and its frame goes between its neighbours. Where the next one follows the one in
  doubt, the time has gone elsewhere for good.
- Then it is a **pause**, and is kept, where it leads forward and what writes the times can be believed: a container
  that knows no jumps (MP4, Matroska, AVI, the caller's own frames) up to 30 hours (``LONGEST_PAUSE``); of a live
  source the clock on the wall, which must have gone on as far. In MPEG-TS and the like (``AVFMT_TS_DISCONT``) it
  is not, since there a jump is what a joined recording has.
- Otherwise it is a **join**: the time goes on by the stream's own step.

A frame in doubt is held back until the next one is there, except where the source is live: it is then shown at once,
a step behind the last.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import median_low
from typing import Final

import av

from arseg_edge.errors import ArsegError
from arseg_edge.runtime.source.base import NOMINAL_RATE
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.incidents import Incidents

log = logging.getLogger(__name__)

NEAR: Final = 10
"""Seconds by which a time may be later than the one before, and raise no doubt."""

LONGEST_PAUSE: Final = 30 * 3600
"""Seconds that a container without jumps is believed."""

_STEPS: Final = 9
"""Steps from frame to frame of which the median is the stream's own."""


class StreamTimes:
    """What a stream itself says of when its pictures are shown, for one decoder.

    As libavcodec's ``best_effort_timestamp``, which PyAV does not hand out: the presentation time as the decoder
    reorders it, unless more of these than of the decoding times failed to rise. With ``reordered`` (``Track``)
    the decoding times at once: without frame threads, that of the packet with which a picture came out.
    """

    def __init__(self, *, reordered: bool) -> None:
        self._reordered = reordered
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._faulty_pts = self._faulty_dts = 0

    def of(self, picture: av.VideoFrame) -> int | None:
        """In units of the picture's time base; None where nothing tells."""
        pts, dts = picture.pts, picture.dts
        if self._reordered:
            return dts
        if dts is not None:
            self._faulty_dts += self._last_dts is not None and dts <= self._last_dts
            self._last_dts = dts
        elif pts is not None:
            self._last_dts = pts
        if pts is not None:
            self._faulty_pts += self._last_pts is not None and pts <= self._last_pts
            self._last_pts = pts
        elif dts is not None:
            self._last_pts = dts
        return pts if pts is not None and (self._faulty_pts <= self._faulty_dts or dts is None) else dts


def rescaled(at: int | None, unit: Fraction | None, time_base: Fraction) -> int | None:
    """A time in units of ``unit`` seconds, in units of ``time_base``; as it is where it has no unit of its own."""
    return at if at is None or unit is None or unit == time_base else round(at * unit / time_base)


@dataclass(frozen=True)
class _Doubtful:
    """A frame whose time does not follow."""

    frame: DecodedFrame
    at: int
    """The stream's own time."""
    given: int | None
    """The steady time, where it was shown already."""


class Clock:
    """Gives each frame of a source a steady time; the rule stands at the head of this file.

    Args:
        name: the source's.
        time_base: seconds in one unit of all times.
        rate: frames a second, for the step until the stream shows its own.
        incidents: where outliers and joins are counted.
        jumps: the container is of a kind in which time jumps where recordings are joined.
        live: frames are shown as they come.
        from_first: the first frame is shown without waiting for the second to agree with it.
        by_arrival: the stream has no times; a frame's is when it came in.
    """

    def __init__(
        self,
        name: str,
        time_base: Fraction,
        rate: Fraction | None,
        incidents: Incidents,
        *,
        jumps: bool = False,
        live: bool = False,
        from_first: bool = False,
        by_arrival: bool = False,
    ) -> None:
        self._name, self._time_base, self._incidents = name, time_base, incidents
        self._jumps, self._live, self._by_arrival = jumps, live, by_arrival
        self._from_first = from_first or live
        self._nominal_step = max(1, round(1 / ((rate or NOMINAL_RATE) * time_base)))
        self._steps: deque[int] = deque(maxlen=_STEPS)
        self._last: int | None = None
        """The last steady time."""
        self._good: int | None = None
        """The last of the stream's own times that was good."""
        self._good_arrival: float | None = None
        self._offset = 0
        """Of the steady time to the stream's own."""
        self._regular = False
        """The frame before had a good time."""
        self._gap: int | None = None
        self._doubtful: list[_Doubtful] = []
        self._joined = False

    def steady(self, frames: Iterable[DecodedFrame]) -> Iterator[DecodedFrame]:
        """The frames with ``pts`` made from their ``stream_pts``."""
        failure: ArsegError | None = None
        try:
            for frame in frames:
                yield from self._take(frame)
        except ArsegError as error:
            failure = error  # what was read before it still comes out
        yield from self._settle_rest()
        if failure is not None:
            raise failure

    def restart(self, seconds: float) -> None:
        """The next frame comes so many seconds after the last, whatever its own time says."""
        self._gap = max(self._step(), self._units(seconds))

    def _take(self, frame: DecodedFrame) -> Iterator[DecodedFrame]:
        at = frame.stream_pts
        if self._by_arrival and frame.arrived is not None:
            at = self._units(frame.arrived)
            if self._last is None:
                self._offset = -at
            yield self._accept(frame, at)
        elif at is None:
            yield from self._settle_rest()
            yield self._show(frame, self._next() if self._last is not None else 0)
            self._regular = False
        elif self._gap is not None or (self._good is None and self._from_first):
            yield from self._settle_rest()
            yield self._start(frame, at)
        else:
            yield from self._judge(frame, at)

    def _judge(self, frame: DecodedFrame, at: int) -> Iterator[DecodedFrame]:
        """Decide what is in doubt by the time of the next frame, which this is."""
        if self._good is None:
            if not self._doubtful or (len(self._doubtful) == 1 and not self._follows(self._doubtful[0].at, at)):
                self._doubtful.append(_Doubtful(frame, at, None))
                return
            yield from self._begin(at)
        assert self._good is not None
        doubt = self._doubtful[0] if self._doubtful else None
        self._doubtful = []
        if self._follows(self._good, at):
            if doubt is not None:
                yield from self._ignore(doubt, before=at + self._offset)
            yield self._accept(frame, at)
        elif doubt is not None and self._follows(doubt.at, at):
            yield from self._move(doubt)
            yield self._accept(frame, at)
        else:
            if doubt is not None:
                yield from self._ignore(doubt)
            yield from self._doubt(frame, at)

    def _begin(self, at: int) -> Iterator[DecodedFrame]:
        """Decide whether the first frame's time is good, by those of the second and, where they differ, the third."""
        first, *rest = self._doubtful
        if (
            rest
            and self._follows(rest[0].at, at)
            and not self._follows(first.at, at)
            and not self._is_pause(first.at, rest[0])
        ):
            self._incidents.note("outliers")
            yield self._show(first.frame, rest[0].at - self._nominal_step)
            first, *rest = rest
        self._doubtful = rest
        yield self._start(first.frame, first.at)

    def _doubt(self, frame: DecodedFrame, at: int) -> Iterator[DecodedFrame]:
        if not self._live:
            self._doubtful = [_Doubtful(frame, at, None)]
        elif self._wall_agrees(frame, at):
            yield self._accept(frame, at)
        else:
            passed = self._passed(frame)
            shown = self._show(frame, self._next() if passed <= NEAR else self._next() + self._units(passed))
            self._doubtful = [_Doubtful(frame, at, shown.pts)]
            self._regular = False
            yield shown

    def _settle_rest(self) -> Iterator[DecodedFrame]:
        """Decide what is in doubt when nothing follows that could."""
        rest, self._doubtful = self._doubtful, []
        for doubt in rest:
            if self._good is None:
                yield self._start(doubt.frame, doubt.at)
            elif doubt.given is None and self._is_pause(self._good, doubt):
                yield self._accept(doubt.frame, doubt.at)
            else:
                yield from self._ignore(doubt)

    def _start(self, frame: DecodedFrame, at: int) -> DecodedFrame:
        """The first time that is known, or the first one after a gap of known length."""
        if self._last is not None and (self._gap is not None or at <= self._last):
            self._offset = self._next() - at
        self._regular = False
        return self._accept(frame, at)

    def _move(self, doubt: _Doubtful) -> Iterator[DecodedFrame]:
        """The stream's time went on from one that was in doubt."""
        if doubt.given is None and self._good is not None and self._is_pause(self._good, doubt):
            self._regular = False
            yield self._accept(doubt.frame, doubt.at)
            return
        steady = self._next() if doubt.given is None else doubt.given
        self._note_join((doubt.at - (self._good or 0)) * self._time_base)
        self._offset = steady - doubt.at
        self._regular = False
        if doubt.given is None:
            yield self._accept(doubt.frame, doubt.at)
        else:
            self._good, self._good_arrival, self._regular = doubt.at, doubt.frame.arrived, True

    def _ignore(self, doubt: _Doubtful, before: int | None = None) -> Iterator[DecodedFrame]:
        """An outlier: its frame goes a step behind the last, or halfway to the next where that is nearer."""
        self._incidents.note("outliers")
        self._regular = False
        if doubt.given is None:
            steady = self._next()
            if before is not None and self._last is not None:
                steady = min(steady, (self._last + before) // 2)
            yield self._show(doubt.frame, steady)

    def _accept(self, frame: DecodedFrame, at: int) -> DecodedFrame:
        if self._regular and self._good is not None:
            self._steps.append(at - self._good)
        self._good, self._good_arrival, self._regular = at, frame.arrived, True
        return self._show(frame, at + self._offset)

    def _show(self, frame: DecodedFrame, steady: int) -> DecodedFrame:
        self._last = steady if self._last is None else max(steady, self._last + 1)
        self._gap = None
        return replace(frame, pts=self._last)

    def _next(self) -> int:
        """When a frame is due of which nothing is known but that it is the next."""
        return (self._last or 0) + (self._step() if self._gap is None else self._gap)

    def _step(self) -> int:
        return median_low(self._steps) if len(self._steps) > 2 else self._nominal_step

    def _follows(self, earlier: int, later: int) -> bool:
        return 0 < later - earlier <= self._units(NEAR)

    def _is_pause(self, good: int, doubt: _Doubtful) -> bool:
        return not self._jumps and not self._live and 0 < doubt.at - good <= self._units(LONGEST_PAUSE)

    def _wall_agrees(self, frame: DecodedFrame, at: int) -> bool:
        leap = 0.0 if self._good is None else float((at - self._good) * self._time_base)
        return leap > 0 and self._good_arrival is not None and abs(leap - self._passed(frame)) <= NEAR

    def _passed(self, frame: DecodedFrame) -> float:
        """Seconds on the wall since the last frame with a good time."""
        if frame.arrived is None or self._good_arrival is None:
            return 0.0
        return frame.arrived - self._good_arrival

    def _units(self, seconds: float) -> int:
        return round(seconds / self._time_base)

    def _note_join(self, seconds: Fraction) -> None:
        self._incidents.note("joined")
        if not self._joined:
            log.warning(
                "%s: its time jumps by %.3f s and stays there, as in joined recordings; it was closed up "
                "(further jumps are only counted)",
                *(self._name, float(seconds)),
            )
        self._joined = True
