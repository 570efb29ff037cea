"""Which schedule to take: the rule that ``compare`` goes by with a network, and ``probe`` without one.

It stands where the command line can read it without loading the runtime.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

ADAPTIVE_LIVE: Final = "adaptive-live"
"""What reports call the adaptive schedule without look-ahead."""
ADAPTIVE_FILE: Final = "adaptive-file"
"""The same with look-ahead."""

AGREEMENT: Final = 90.0
"""Percent of the pixels. Good networks are right on about nine pixels in ten: no more change than are wrong anyway."""

ScheduleName = Literal["adaptive", "paper"]


@dataclass(frozen=True)
class Option:
    """What a schedule brings and costs on a video."""

    score: float
    """Percent of the pixels that agree with HR on every frame."""
    arithmetic: float
    """Multiply-accumulates as a share of HR's on every frame."""


def choose_schedule(adaptive: Option, paper: Option | None, threshold: float = AGREEMENT) -> ScheduleName | None:
    """Return the cheaper that agrees far enough, and where not both do the one that agrees further.

    Without LR there is no ``paper``; then it is None where the adaptive one does not agree far enough.
    """
    if paper is None:
        return "adaptive" if adaptive.score >= threshold else None
    if min(adaptive.score, paper.score) >= threshold:
        return "adaptive" if adaptive.arithmetic <= paper.arithmetic else "paper"
    return "adaptive" if adaptive.score >= paper.score else "paper"
