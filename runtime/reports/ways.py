"""The ways in which the labels of all frames can be had, side by side: what ``bench`` times and the README compares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from arseg_edge.runtime.schedule.adaptive import Intervals
from arseg_edge.runtime.schedule.variants import (
    ADAPTIVE_LIVE_LR,
    Schedule,
    moved_every,
    schedules,
)
from arseg_edge.runtime.segmenter import Settings
from arseg_edge.schedule_choice import ADAPTIVE_FILE, ADAPTIVE_LIVE

HR: Final = "hr"
PAPER: Final = "paper"
OFTEN: Final = 3
"""Frames from one network to the next, of the simplest competitor of ``paper``."""


@dataclass(frozen=True)
class Way:
    """A way of making the labels of all frames."""

    name: str
    """A key of reports."""
    words: str
    settings: Settings


def ways_of(
    interval: int,
    size: tuple[int, int] | None,
    threads: int,
    *,
    anchors: Intervals | None = None,
    files: bool = True,
    lr: bool = True,
) -> list[Way]:
    """Return all ways.

    Args:
        interval: from one keyframe to the next.
        size: what the networks see, as for ``arseg_edge.load``.
        threads: of the networks, and of moving labels.
        anchors: the adaptive schedule's; None: the same.
        files: the source lies on this machine, so that it has a future to look into.
        lr: the bundle has an LR network.
    """
    base = Settings(interval, size, threads=threads)
    listed = {each.name: each for each in schedules(interval, anchors or Intervals(interval, interval), lr=lr)}
    moved = [moved_every(each, lookahead=False) for each in sorted({OFTEN, interval})]
    adaptive = [ADAPTIVE_LIVE, *([ADAPTIVE_LIVE_LR] if lr else []), *([ADAPTIVE_FILE] if files else [])]

    def way(schedule: Schedule) -> Way:
        return Way(schedule.name, schedule.title, replace(base, interval=schedule.interval, **schedule.settings))

    return [
        Way(HR, "HR on every frame", replace(base, interval=1, schedule="paper")),
        *map(way, moved),
        *([Way(PAPER, "paper: HR + LR + CReFF", replace(base, schedule="paper"))] if lr else []),
        *(way(listed[name]) for name in adaptive),
    ]
