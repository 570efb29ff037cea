"""Frames that a caller decodes, one by one: the caller says which branch makes the labels."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from time import perf_counter
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from arseg_edge.errors import FrameError, SequenceError, UsageError
from arseg_edge.results import Branch, Result, Speed
from arseg_edge.runtime.inference.checks import check_frame, checked_motion
from arseg_edge.runtime.inference.keyframe_state import KeyframeState
from arseg_edge.runtime.inference.network_size import NetworkSize
from arseg_edge.runtime.inference.networks import NO_LR, Networks
from arseg_edge.runtime.labels.moved import Moved, moved_labels
from arseg_edge.runtime.labels.seen import Seen
from arseg_edge.runtime.motion.step import blocks_of
from arseg_edge.runtime.motion.vectors import BLOCK
from arseg_edge.runtime.source.resizing import resized_picture

_TIME_BASE: Final = Fraction(1, 25)
"""A caller who decodes has times of their own; results count at a nominal rate."""

_CLASSES: Final = 256
"""As many as there can be: labels of one frame are moved, none is chosen."""


class Steps:
    """One caller's frames; one thread at a time."""

    def __init__(self, networks: Networks, network_size: NetworkSize, *, confidence: bool = False) -> None:
        self._networks, self._network_size = networks, network_size
        self._state = KeyframeState(networks, confidence=confidence)
        self._keyframe: Seen | None = None
        self._index = self._since_keyframe = 0

    def reset(self) -> None:
        """Forget the keyframe and start counting anew."""
        self._state.forget()
        self._keyframe = None
        self._index = self._since_keyframe = 0

    def step(
        self,
        rgb: NDArray[np.uint8],
        *,
        motion: NDArray[np.floating[Any]] | None,
        keyframe: bool,
        branch: Branch | None,
    ) -> Result:
        """See :meth:`arseg_edge.Segmenter.step`."""
        check_frame(rgb)
        height, width = rgb.shape[:2]
        size = self._network_size.of(height, width)
        _check_branch(motion is not None, keyframe, branch)
        reason = None if motion is not None else "requested" if keyframe or branch == "hr" else "no-motion"
        if reason == "no-motion" and self._keyframe is None:
            reason = "first"
        start = perf_counter()
        made_by: Branch
        if motion is None:
            made_by, self._keyframe = "hr", None  # should the network fail, there is no keyframe
            self._keyframe = self._state.run_keyframe(resized_picture(rgb, size), (height, width))
            seen, self._since_keyframe = self._keyframe.for_callers(), 0
        else:
            anchor = self._anchor(height, width)
            displacement = checked_motion(motion, height, width)
            made_by = branch or ("lr" if self._networks.has_lr else "moved")
            if made_by == "lr" and not self._networks.has_lr:
                raise UsageError(f"branch 'lr': {NO_LR}")
            if made_by == "moved":
                seen = _moved(anchor, displacement)
            else:
                seen = self._state.run_nonkeyframe(resized_picture(rgb, size), displacement, (height, width))
            self._since_keyframe += 1
        index, self._index = self._index, self._index + 1
        return Result(
            labels=seen.labels,
            confidence=seen.confidence,
            index=index,
            pts=index,
            time_base=_TIME_BASE,
            is_keyframe=made_by == "hr",
            keyframe_reason=reason,
            distance=self._since_keyframe,
            motion_source=None if motion is None else "caller",
            speed=Speed({made_by: (perf_counter() - start) * 1e3}, self._networks.provider.name, self._networks.native),
            picture=_Given(rgb),
            branch=made_by,
            age=self._since_keyframe if made_by == "moved" else 0,
        )

    def _anchor(self, height: int, width: int) -> Seen:
        if self._keyframe is None:
            raise SequenceError("motion before any keyframe: call step(rgb, keyframe=True) first")
        before = self._keyframe.labels.shape
        if before != (height, width):
            raise FrameError(
                f"frame is {height}x{width} but the last keyframe was {before[0]}x{before[1]}: make it a keyframe"
            )
        return self._keyframe


def _check_branch(has_motion: bool, keyframe: bool, branch: Branch | None) -> None:
    if branch not in (None, "hr", "lr", "moved"):
        raise UsageError(f"branch {branch!r}: must be hr, lr or moved")
    if has_motion and keyframe:
        raise UsageError("both keyframe=True and motion: a keyframe has none, leave one out")
    if has_motion and branch == "hr":
        raise UsageError("both branch='hr' and motion: a keyframe has none, leave one out")
    if keyframe and branch not in (None, "hr"):
        raise UsageError(f"both keyframe=True and branch {branch!r}: leave one out")
    if not has_motion and branch in ("lr", "moved"):
        raise UsageError(f"branch {branch!r} without motion: give the motion to the last keyframe")


def _moved(anchor: Seen, motion: NDArray[np.float32]) -> Seen:
    """Return the keyframe's labels moved along; what comes from beyond its picture is not shown by it."""
    rows, columns = blocks_of(*motion.shape[:2])
    border = rows * BLOCK - motion.shape[0], columns * BLOCK - motion.shape[1]
    padded = cv2.copyMakeBorder(motion, 0, border[0], 0, border[1], cv2.BORDER_REPLICATE)
    means = cv2.resize(padded, (columns, rows), interpolation=cv2.INTER_AREA) / np.float32(BLOCK)
    shown = None if anchor.confidence is None else _within(means)
    weight = np.ones((rows, columns), np.float32)
    moved = Moved(anchor, np.ascontiguousarray(means, np.float32), weight, shown)
    labels, confidence = moved_labels([moved], _CLASSES, None)
    return Seen(labels, None, confidence)


def _within(motion: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 1 for each block whose ``motion``, in blocks, leads into the picture, else 0."""
    rows, columns = motion.shape[:2]
    places = motion + np.moveaxis(np.indices((rows, columns), np.float32)[::-1], 0, -1)
    within = (places > -0.5) & (places < np.array([columns - 0.5, rows - 0.5], np.float32))
    return np.asarray(within.all(axis=-1), np.float32)


@dataclass(frozen=True)
class _Given:
    """A picture that is RGB already."""

    rgb: NDArray[np.uint8]
