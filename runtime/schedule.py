"""Which frames are keyframes, and why.

A keyframe is due after a fixed interval, and wherever a frame's motion cannot be followed back to the
frame before it. Missing vectors must never pass for zero motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from arseg_edge.errors import UsageError

INTERVAL: Final = 12
"""Frames from one keyframe to the next: the paper's setting."""

KeyframeReason = Literal[
    "first",  # nothing came before
    "size-change",  # the picture's size is not that of the frame before
    "corrupt",  # the decoder had to conceal parts of the picture
    "discontinuity",  # something between this frame and the one before was lost
    "reordered",  # a stream with B-frames: vectors need not point to the frame before
    "interval",  # due by the schedule
    "intra",  # an I-frame
    "no-motion",  # predicted from another frame, but without usable vectors
    "requested",  # by the caller
]


@dataclass(frozen=True)
class Link:
    """How a frame is tied to the one before it."""

    vectors: bool = True
    """There are motion vectors that can be used."""
    intra: bool = False
    reordered: bool = False
    size_changed: bool = False
    discontinuity: bool = False
    corrupt: bool = False


def check_interval(interval: int) -> None:
    """Refuse an interval that is not a whole number of at least 1.

    Raises:
        UsageError: otherwise.
    """
    if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
        raise UsageError(f"interval {interval!r}: must be a whole number of frames, 1 or more")


def keyframe_reason(link: Link, distance: int | None, interval: int) -> KeyframeReason | None:
    """Why a frame must be a keyframe; None when it need not be one.

    Args:
        link: how it is tied to the frame before.
        distance: frames since the last keyframe, 1 for the frame right after; None before any keyframe.
        interval: a frame at this distance is due.
    """
    if distance is None:
        return "first"
    if link.size_changed:
        return "size-change"
    if link.corrupt:
        return "corrupt"
    if link.discontinuity:
        return "discontinuity"
    if link.reordered:
        return "reordered"
    if distance >= interval:
        return "interval"
    if not link.vectors:
        return "intra" if link.intra else "no-motion"
    return None
