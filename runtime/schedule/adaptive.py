"""Which frames a network sees, and what all others draw on, where that follows from the video itself.

A frame that a network sees is an *anchor*. With the future at hand, as in a file, frames between two anchors draw on
both. An anchor is due after the interval, and wherever too much of the picture is shown by no anchor: then the frame
that shows most of what is new becomes one too. Without a future, frames draw on the anchors before them, and the LR
network looks in between. Only pictures and vectors decide, never the clock: a file gets the same branches every time.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from arseg_edge.errors import SourceError, UsageError
from arseg_edge.results import Branch
from arseg_edge.runtime.motion.anchors import PastAnchor, Reach, from_future
from arseg_edge.runtime.motion.follow import MotionSource
from arseg_edge.runtime.motion.step import Step
from arseg_edge.runtime.schedule.keyframes import KeyframeReason
from arseg_edge.runtime.source.decoded_frame import DecodedFrame

TOLERANCE: Final = 0.25
"""The default share of the picture that may be shown by no anchor. A guard against what comes in at once: ordinary
driving stays below it up to the default interval (0.22 was the most in stills held out of the demo model's training).
Where a picture changes evenly, anchors that a smaller tolerance calls for are worth less than those of a shorter
interval."""

_NEWS: Final = 0.1
"""The part of the tolerance below which a picture shows nothing that the LR network would have to look at."""

_CUT: Final = 0.3
"""Rise of that share from one frame to the next which is a cut."""


@dataclass(frozen=True, eq=False)
class TiedFrame:
    """A decoded frame and how it is tied to the one before."""

    decoded: DecodedFrame
    step: Step
    broken: KeyframeReason | None
    """Why it cannot be followed back; None where it can."""
    source: MotionSource
    """Where its motion comes from."""
    decode_ms: float
    motion_ms: float


@dataclass(frozen=True, eq=False)
class Draw:
    """An anchor that a frame draws on."""

    anchor: int
    """The anchor's index."""
    reach: Reach


@dataclass(frozen=True, eq=False)
class ScheduledFrame:
    """A frame, the branch that makes its labels, and what it draws on."""

    tied: TiedFrame
    branch: Branch
    reason: KeyframeReason | None
    """Why it is an HR frame; None on others."""
    draws: tuple[Draw, ...]
    """For ``moved`` at least one; for ``lr`` the first is the keyframe; for ``hr`` none."""
    distance: int
    """Frames since the last HR frame in display order; 0 on one."""

    @property
    def index(self) -> int:
        """Of the frame."""
        return self.tied.decoded.index

    @property
    def age(self) -> int:
        """Frames to the nearest one that a network saw; 0 where it sees this one."""
        return min(draw.reach.distance for draw in self.draws) if self.branch == "moved" else 0


@dataclass(frozen=True)
class Intervals:
    """From one anchor to the next there are at most so many frames."""

    both_sides: int
    """With the future at hand."""
    one_side: int
    """Without it."""


def default_intervals(interval: int) -> Intervals:
    """Return the intervals for a bundle whose own keyframe interval, made for LR between, is ``interval``.

    They were chosen on a drawn street with true labels and on a motorway. From 12 to 8 frames HR sees half as many
    frames again, and labels get better by 1 mIoU; from there to 6 by another 1. Without a future 6 is as good as 10
    with one.

    >>> default_intervals(12)
    Intervals(both_sides=8, one_side=6)
    """
    return Intervals(max(1, round(interval * 2 / 3)), max(1, interval // 2))


Group = tuple[ScheduledFrame, ...]
"""Frames in display order; the last may be an anchor that the others draw on, and is then to be run first."""


def check_tolerance(tolerance: float) -> None:
    """Refuse a tolerance that is no share of the picture.

    Raises:
        UsageError: otherwise.
    """
    number = isinstance(tolerance, (int, float)) and not isinstance(tolerance, bool)
    if not number or not 0 <= tolerance <= 1:
        raise UsageError(f"tolerance {tolerance!r}: must be a share of the picture, 0 to 1, such as {TOLERANCE}")


def unshown_share(reaches: Sequence[Reach]) -> float:
    """The share of the blocks, 0 to 1, that none of the anchors shows."""
    return float(np.logical_and.reduce([reach.unshown for reach in reaches]).mean())


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A frame whose anchor behind it is not known yet."""

    tied: TiedFrame
    past: Reach


class _Ending(Iterator[TiedFrame]):
    """Frames that end where their source fails: what waits is done before the failure goes on."""

    def __init__(self, frames: Iterable[TiedFrame]) -> None:
        self._frames = iter(frames)
        self.error: SourceError | None = None

    def __next__(self) -> TiedFrame:
        try:
            return next(self._frames)
        except SourceError as error:
            self.error = error
            raise StopIteration from None


class BothSides:
    """Schedules frames of which the future is at hand."""

    def __init__(self, interval: int, tolerance: float) -> None:
        self._interval, self._tolerance = interval, tolerance

    def groups(self, frames: Iterable[TiedFrame]) -> Generator[Group, None, None]:
        """Take all frames in display order; each group comes as soon as its last frame is known.

        A ``SourceError`` of ``frames`` is raised behind the groups of all frames before it.
        """
        anchor: TiedFrame | None = None
        past: PastAnchor | None = None
        waiting: list[_Waiting] = []
        before = 0.0
        ending = _Ending(frames)
        for tied in ending:
            reason: KeyframeReason | None = "first" if past is None else tied.broken
            if reason is None and past is not None:
                reach = past.follow(tied.step)
                unshown = unshown_share([reach])
                if unshown - before > _CUT:
                    reason = "scene-cut"
                before = unshown
            if reason is not None or anchor is None or past is None:
                if anchor is not None:
                    yield from self._tail(anchor, waiting)
                yield (_hr(tied, reason or "first"),)
            else:
                waiting.append(_Waiting(tied, reach))
                due: KeyframeReason | None = "interval" if len(waiting) >= self._interval else None
                # Half of what has changed since one anchor, the next one shows.
                if due is None and unshown > 2 * self._tolerance:
                    due = "mismatch"
                if due is None:
                    continue
                yield from self._between(anchor, waiting[:-1], tied, due)
            anchor, past, waiting, before = tied, PastAnchor(tied.step.luma), [], 0.0
        if anchor is not None:
            yield from self._tail(anchor, waiting)
        if ending.error is not None:
            raise ending.error

    def _tail(self, anchor: TiedFrame, waiting: list[_Waiting]) -> Iterator[Group]:
        """Frames behind which nothing follows that shows the same."""
        if waiting and max(unshown_share([each.past]) for each in waiting) > self._tolerance:
            yield from self._between(anchor, waiting[:-1], waiting[-1].tied, "mismatch")
        elif waiting:
            yield tuple(_moved(each.tied, anchor, [Draw(anchor.decoded.index, each.past)]) for each in waiting)

    def _between(
        self, first: TiedFrame, waiting: list[_Waiting], last: TiedFrame, reason: KeyframeReason
    ) -> Iterator[Group]:
        """Frames between two anchors."""
        futures = from_future([*(each.tied.step for each in waiting), last.step])
        unshown = [unshown_share([each.past, future]) for each, future in zip(waiting, futures, strict=True)]
        worst = int(np.argmax(unshown)) if unshown else 0
        if unshown and unshown[worst] > self._tolerance:
            middle = waiting[worst].tied
            yield from self._between(first, waiting[:worst], middle, "mismatch")
            past = PastAnchor(middle.step.luma)
            behind = [_Waiting(each.tied, past.follow(each.tied.step)) for each in waiting[worst + 1 :]]
            yield from self._between(middle, behind, last, reason)
            return
        ends = first.decoded.index, last.decoded.index
        moved = (
            _moved(each.tied, first, [Draw(ends[0], each.past), Draw(ends[1], future)])
            for each, future in zip(waiting, futures, strict=True)
        )
        yield (*moved, _hr(last, reason))


class OneSide:
    """Schedules frames one by one, as they come."""

    def __init__(self, interval: int, tolerance: float, looks: int | None) -> None:
        """``looks``: the LR network sees a frame at least every so many; None: there is none, or it does not pay."""
        self._interval, self._tolerance, self._looks = interval, tolerance, looks

    def groups(self, frames: Iterable[TiedFrame]) -> Generator[Group, None, None]:
        """Take all frames in display order; each is a group."""
        keyframe: tuple[TiedFrame, PastAnchor] | None = None
        latest: tuple[TiedFrame, PastAnchor] | None = None
        before = 0.0
        for tied in frames:
            if keyframe is None or tied.broken is not None:
                keyframe, latest, before = (tied, PastAnchor(tied.step.luma)), None, 0.0
                yield (_hr(tied, tied.broken or "first"),)
                continue
            draws = [Draw(keyframe[0].decoded.index, keyframe[1].follow(tied.step))]
            if latest is not None:
                draws.append(Draw(latest[0].decoded.index, latest[1].follow(tied.step)))
            distance, since = draws[0].reach.distance, draws[-1].reach.distance
            unshown = unshown_share([draws[-1].reach])
            reason: KeyframeReason | None = None
            if unshown - before > _CUT:
                reason = "scene-cut"
            elif distance >= self._interval:
                reason = "interval"
            elif self._looks is None and unshown > self._tolerance:
                reason = "mismatch"
            if reason is not None:
                keyframe, latest, before = (tied, PastAnchor(tied.step.luma)), None, 0.0
                yield (_hr(tied, reason),)
            elif self._looks is not None and (
                unshown > self._tolerance or (since >= self._looks and unshown > _NEWS * self._tolerance)
            ):
                latest, before = (tied, PastAnchor(tied.step.luma)), 0.0
                yield (ScheduledFrame(tied, "lr", None, tuple(draws), distance),)
            else:
                before = unshown
                yield (ScheduledFrame(tied, "moved", None, tuple(draws), distance),)


def _hr(tied: TiedFrame, reason: KeyframeReason) -> ScheduledFrame:
    return ScheduledFrame(tied, "hr", reason, (), 0)


def _moved(tied: TiedFrame, before: TiedFrame, draws: Sequence[Draw]) -> ScheduledFrame:
    return ScheduledFrame(tied, "moved", None, tuple(draws), tied.decoded.index - before.decoded.index)
