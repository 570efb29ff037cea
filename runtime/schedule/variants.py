"""The schedules that move labels along, in one list: what ``bench`` times, and ``compare`` and ``eval`` score."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from arseg_edge.runtime.schedule.adaptive import (
    TOLERANCE,
    BothSides,
    Group,
    Intervals,
    OneSide,
    TiedFrame,
    default_intervals,
)
from arseg_edge.schedule_choice import ADAPTIVE_FILE, ADAPTIVE_LIVE

ADAPTIVE_LIVE_LR: Final = "adaptive-live-lr"
"""Names."""

LOOKS: Final[int | None] = None
"""Without a future, the LR network sees a frame at least every so many, by default; None: it never runs.

The demo model's LR network costs half of HR, and for its time HR more often, with labels moved between, agrees better
with HR on every frame of all videos that it was not trained for."""

EVERY: Final = (2, 3, 4, 6, 12)
"""The HR network sees a frame every so many, in the schedules that take nothing else into account."""

LR_EVERY: Final = 3
"""Frames, where the LR network is asked for."""


@dataclass(frozen=True)
class Schedule:
    """Which frames a network sees; all others have labels moved along."""

    name: str
    """For ``--json``."""
    title: str
    interval: int
    tolerance: float
    lookahead: bool
    """Whether frames draw on both sides, as of a file; else on what was before them, as live."""
    looks: int | None = None
    """Without look-ahead: the LR network sees a frame at least every so many; None: there is none."""

    @property
    def settings(self) -> dict[str, Any]:
        """How a segmenter is told, beside the interval."""
        return {
            "schedule": "adaptive",
            "tolerance": self.tolerance,
            "lookahead": self.lookahead,
            "looks": self.looks,
        }

    def groups(self, frames: Iterable[TiedFrame]) -> Iterator[Group]:
        """Schedule frames."""
        if self.lookahead:
            return BothSides(self.interval, self.tolerance).groups(frames)
        return OneSide(self.interval, self.tolerance, self.looks).groups(frames)


def moved_every(interval: int, *, lookahead: bool) -> Schedule:
    """Return "HR every so many frames, its labels moved along": nothing but cuts and losses calls for more."""
    sides = "both sides" if lookahead else "one side"
    name = f"hr-every-{interval}-{sides.replace(' ', '-')}"
    return Schedule(name, f"HR every {interval}, moved from {sides}", interval, 1.0, lookahead)


def schedules(interval: int, adaptive: Intervals | int | None = None, *, lr: bool = True) -> tuple[Schedule, ...]:
    """Return all that there are up to an interval; ``adaptive`` is that of the adaptive one, None for its defaults.

    ``lr``: there is an LR network.
    """
    every = [number for number in EVERY if number <= interval]
    anchors = Intervals(adaptive, adaptive) if isinstance(adaptive, int) else adaptive or default_intervals(interval)
    title = f"adaptive, live, LR every {LR_EVERY}"
    looking = Schedule(ADAPTIVE_LIVE_LR, title, interval, TOLERANCE, False, LR_EVERY)
    return (
        *(moved_every(k, lookahead=False) for k in every),
        *(moved_every(k, lookahead=True) for k in every),
        *([looking] if lr else []),
        Schedule(ADAPTIVE_LIVE, "adaptive, live", anchors.one_side, TOLERANCE, False, LOOKS),
        Schedule(ADAPTIVE_FILE, "adaptive, file", anchors.both_sides, TOLERANCE, True),
    )
