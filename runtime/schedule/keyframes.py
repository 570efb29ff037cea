"""Which frames are keyframes, and why.

A keyframe is due after a fixed interval, wherever a frame's motion cannot be followed back, and wherever the
keyframe no longer shows what the frame shows. Missing vectors must never pass for zero motion.
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
    "discontinuity",  # something between this frame and the one before was lost, or is not shown
    "lost-reference",  # the picture that this one was predicted from was lost, or is not shown
    "interval",  # due by the schedule
    "intra",  # an I-frame
    "no-motion",  # predicted from another frame, but without usable vectors
    "intra-share",  # too much of the picture was not predicted from another frame
    "scene-cut",  # all at once, the keyframe shows something else
    "mismatch",  # too much of the picture no longer shows what the keyframe shows
    "requested",  # by the caller
]


@dataclass(frozen=True)
class Guards:
    """Shares of the picture, 0 to 1, above which a frame becomes a keyframe; 1 never does.

    The defaults lie between what hard cuts and what running scenes show, on pictures without their labels
    (``benchmarks/guards.py``).
    """

    intra: float = 0.7
    """Blocks that the codec did not predict from another frame; matters where its vectors alone give the motion."""
    mismatch: float = 0.4
    """Pixels that do not show what the keyframe shows at the place they were followed to."""
    cut: float = 0.16
    """Rise of the mismatch from one frame to the next."""

    def __post_init__(self) -> None:
        for name in ("intra", "mismatch", "cut"):
            share = getattr(self, name)
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
                raise UsageError(f"guard {name} {share!r}: must be a share of the picture, 0 to 1")


@dataclass(frozen=True)
class Link:
    """How a frame is tied to the one before it."""

    motion: bool = True
    """Its motion can be had, from vectors or from the pictures."""
    intra: bool = False
    """An I-frame among others."""
    size_changed: bool = False
    discontinuity: bool = False
    lost_reference: bool = False
    corrupt: bool = False
    intra_share: float = 0.0
    """Share of the blocks that were not predicted from another frame; 0 where pixels help to find motion."""


def check_interval(interval: int) -> None:
    """Refuse an interval that is not a whole number of at least 1.

    Raises:
        UsageError: otherwise.
    """
    if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
        raise UsageError(f"interval {interval!r}: must be a whole number of frames, 1 or more")


def keyframe_reason(
    link: Link, distance: int | None, interval: int, guards: Guards | None = None
) -> KeyframeReason | None:
    """Why a frame must be a keyframe before its motion is looked at; None when it need not be one.

    Args:
        link: how it is tied to the frame before.
        distance: frames since the last keyframe, 1 for the frame right after; None before any keyframe.
        interval: a frame at this distance is due.
        guards: the limit for the share of intra blocks; None for no limit.
    """
    if distance is None:
        return "first"
    if link.size_changed:
        return "size-change"
    if link.corrupt:
        return "corrupt"
    if link.discontinuity:
        return "discontinuity"
    if link.lost_reference:
        return "lost-reference"
    if distance >= interval:
        return "interval"
    if link.intra:
        return "intra"
    if not link.motion:
        return "no-motion"
    if guards is not None and link.intra_share > guards.intra:
        return "intra-share"
    return None


def mismatch_reason(mismatch: float, before: float, guards: Guards | None) -> KeyframeReason | None:
    """Why a frame must be a keyframe after its motion was found; None when it need not be one.

    Args:
        mismatch: share of its pixels that do not show what the keyframe shows.
        before: the same of the frame before; 0 right after a keyframe.
        guards: the limits; None for none.
    """
    if guards is None:
        return None
    if mismatch - before > guards.cut:
        return "scene-cut"
    if mismatch > guards.mismatch:
        return "mismatch"
    return None
