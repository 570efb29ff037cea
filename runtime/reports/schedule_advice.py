"""Which schedule a video calls for, as far as can be said without a network.

A probe has no labels to compare. It knows how much of each frame the frame before it at some distance no longer shows,
and labels cannot be moved to what is not shown. From that follow how far apart frames for HR may be, and with it what
the adaptive schedule costs; the paper's schedule is taken to agree as far as is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from arseg_edge.manifest import Manifest
from arseg_edge.runtime.schedule.adaptive import OneSide, TiedFrame, unshown_share
from arseg_edge.schedule_choice import AGREEMENT, Option, ScheduleName, choose_schedule

TOLERATED: Final = 0.06
"""The share of the picture, mean over the frames, that an anchor may not show at the farthest distance: labels moved
there are about as good as those of the default intervals on a street."""


@dataclass(frozen=True)
class Unshown:
    """How much of a video's frames is shown by no earlier frame, and what follows."""

    by_distance: tuple[float, ...]
    """Share of the picture, 0 to 1, mean over the frames at each distance from 1 on."""
    interval_file: int
    """The longest at which it stays within what is tolerated, where labels come from both sides, as in a file."""
    interval_live: int
    """The same from one side."""
    file: ScheduleName | None
    """The schedule to take for files; None where none agrees far enough."""
    live: ScheduleName | None
    """The same for live sources."""


def unshown_by_distance(frames: Iterable[TiedFrame], longest: int) -> Iterator[tuple[int, float]]:
    """Yield, for each frame that has one, the distance to the last anchor, and the share that it does not show.

    There is an anchor every ``longest`` frames, and wherever frames cannot be followed.
    """
    for group in OneSide(longest, 1.0, None).groups(frames):
        for frame in group:
            if frame.branch == "moved":
                yield frame.distance, unshown_share([frame.draws[0].reach])


def unshown_advice(shares: Mapping[int, list[float]], manifest: Manifest | None) -> Unshown | None:
    """Return what follows from the shares at each distance; None without any.

    Args:
        shares: from ``unshown_by_distance``.
        manifest: the bundle's, for what LR costs; without one it is taken to have none.
    """
    means: list[float] = []
    while len(means) + 1 in shares:
        means.append(fmean(shares[len(means) + 1]))
    if not means:
        return None
    paper = None
    if manifest is not None and manifest.has_lr:
        paper = Option(AGREEMENT, 1 - manifest.macs.saving(manifest.scales[0].scale, manifest.interval))

    def followed(tolerance: float) -> tuple[int, ScheduleName | None]:
        within = 0
        while within < len(means) and means[within] <= tolerance:
            within += 1
        missing = fmean(means[:within]) if within else 0.0
        interval = within + 1
        return interval, choose_schedule(Option(100 * (1 - missing), 1 / interval), paper)

    # Half of what has changed since one anchor, the next one shows (``schedule/adaptive.py``).
    (interval_file, file), (interval_live, live) = followed(2 * TOLERATED), followed(TOLERATED)
    return Unshown(tuple(means), interval_file, interval_live, file, live)
