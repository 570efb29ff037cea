"""The keyframe interval and the LR scale that a video calls for, by how far AR agrees with HR on it.

AR is HR on keyframes with LR and CReFF on the frames between. An interval of L frames is good where, at every distance
from the keyframe up to L − 1, AR gives at least the wanted share of the pixels the class that HR gives them. Each LR
scale is taken with its longest such interval, and the fastest scale is advised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from arseg_edge.schedule_choice import (
    ADAPTIVE_FILE,
    ADAPTIVE_LIVE,
    AGREEMENT,
    Option,
    ScheduleName,
    choose_schedule,
)

if TYPE_CHECKING:
    from arseg_edge.evaluation.agreement import Comparison, ScaleAgreement
    from arseg_edge.evaluation.schedules import Row

PAPER: Final = "ar"
"""The paper's schedule among the rows (``schedules.py``)."""


@dataclass(frozen=True)
class Reach:
    """How far one LR scale goes."""

    scale: float
    interval: int
    """1: AR never agrees far enough, and HR should run on every frame."""
    agreement: float | None
    """At the farthest distance of that interval; None for an interval of 1."""
    speedup: float
    """Over HR on every frame, measured."""
    limit: str
    """What keeps the interval from being longer, or the scale from serving at all."""


@dataclass(frozen=True)
class Advice:
    """What to run the video with."""

    threshold: float
    """Percent of the pixels that must agree."""
    interval: int
    scale: float | None
    """None where HR should run on every frame."""
    speedup: float
    reaches: tuple[Reach, ...]
    file: ScheduleName | None
    """The schedule to take for files; None where none was measured, or, of HR alone, none agrees far enough."""
    live: ScheduleName | None
    """The same for live sources, which have no future."""


def advise(comparison: Comparison, threshold: float = AGREEMENT) -> Advice:
    """Return the interval and the scale for what ``compare`` found."""
    reaches = tuple(_reach(comparison, branch, threshold) for branch in comparison.branches)
    best = max(reaches, key=lambda reach: reach.speedup, default=None)
    rows = {row.name: row for row in comparison.schedules}
    file, live = (_schedule(rows, name, threshold) for name in (ADAPTIVE_FILE, ADAPTIVE_LIVE))
    if best is None or best.interval == 1 or best.speedup <= 1:
        return Advice(threshold, 1, None, 1.0, reaches, file, live)
    return Advice(threshold, best.interval, best.scale, best.speedup, reaches, file, live)


def _schedule(rows: Mapping[str, Row], adaptive: str, threshold: float) -> ScheduleName | None:
    """Choose between the adaptive schedule of that name and the paper's."""
    if adaptive not in rows:
        return None
    paper = rows.get(PAPER)
    return choose_schedule(_option(rows[adaptive]), None if paper is None else _option(paper), threshold)


def _option(row: Row) -> Option:
    return Option(row.score, row.arithmetic)


def _reach(comparison: Comparison, branch: ScaleAgreement, threshold: float) -> Reach:
    agreement = branch.ar.agreement_by_distance.tolist()
    interval = 1
    while interval < comparison.longest and agreement[interval] >= threshold:
        interval += 1
    if interval == 1:
        limit = f"the LR scale: {agreement[1]:.1f} % right after the keyframe; a larger scale would agree better"
        return Reach(branch.scale, 1, None, 1.0, limit)
    if interval == comparison.longest:
        limit = "nothing, up to the longest interval tried"
    elif comparison.frames_by_distance[interval] == 0:
        limit = "the video: its own keyframes come no further apart"
    else:
        limit = f"the distance: {agreement[interval]:.1f} % at {interval} frames"
    lr = branch.lr.agreement_by_distance[1:interval]
    if (lr >= threshold).all():
        limit += "; LR alone agrees as far, so a smaller scale may serve"
    speedup = comparison.speedup(branch.scale, interval)
    return Reach(branch.scale, interval, agreement[interval - 1], speedup, limit)
