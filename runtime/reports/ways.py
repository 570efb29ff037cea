"""The ways in which the labels of all frames can be had, side by side: what ``bench`` times and the README compares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from arseg_edge.runtime.schedule.adaptive import Intervals
from arseg_edge.runtime.segmenter import Settings

HR: Final = "hr"
PAPER: Final = "paper"
ADAPTIVE: Final = "adaptive"
LIVE: Final = "adaptive live"
LIVE_LR: Final = "adaptive live lr"
OFTEN: Final = 3
"""Frames from one network to the next: of the simplest competitor of ``paper``, and of LR where it looks between."""


@dataclass(frozen=True)
class Way:
    """A way of making the labels of all frames."""

    name: str
    """A key of reports."""
    words: str
    settings: Settings


def moved_every(interval: int) -> str:
    """Return the name of "HR every so many frames, its labels moved on to the others"."""
    return f"hr every {interval} moved"


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
    return [
        Way(HR, "HR on every frame", replace(base, interval=1, schedule="paper")),
        *(
            # With a tolerance of 1 nothing but the interval and cuts call for a network.
            Way(
                moved_every(each),
                f"HR every {each} frames, labels moved on",
                replace(base, interval=each, tolerance=1.0, lookahead=False, looks=None),
            )
            for each in sorted({OFTEN, interval})
        ),
        *([Way(PAPER, "paper: HR + LR + CReFF", replace(base, schedule="paper"))] if lr else []),
        Way(
            LIVE,
            "adaptive, without look-ahead (live)",
            replace(base, lookahead=False, anchors=anchors),
        ),
        *(
            [Way(LIVE_LR, f"the same, LR every {OFTEN} frames", replace(base, lookahead=False, looks=OFTEN))]
            if lr
            else []
        ),
        *([Way(ADAPTIVE, "adaptive, with look-ahead (files)", replace(base, anchors=anchors))] if files else []),
    ]
