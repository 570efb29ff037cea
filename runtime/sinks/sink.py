"""What a sink is, and what it is given."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from fractions import Fraction
from types import TracebackType
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from arseg_edge.results import Branch, Colour

_Self = TypeVar("_Self", bound="Sink")


class SpeedLike(Protocol):
    """How long a frame took."""

    @property
    def milliseconds(self) -> Mapping[str, float]:
        """Milliseconds by stage, in the order in which the stages ran."""


class ResultLike(Protocol):
    """The part of a result that the sinks here read; ``arseg_edge.Result`` is one."""

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """Class of every pixel, uint8 [H, W]."""

    @property
    def rgb(self) -> npt.NDArray[np.uint8]:
        """The frame itself, uint8 [H, W, 3]."""

    @property
    def index(self) -> int:
        """Number of the frame in the order of display, from 0."""

    @property
    def pts(self) -> int:
        """The steady time in units of ``time_base``; rises from frame to frame."""

    @property
    def time(self) -> float:
        """The steady time in seconds."""

    @property
    def stream_pts(self) -> int | None:
        """The stream's own time in units of ``time_base``; None where it has none."""

    @property
    def stream_time(self) -> float | None:
        """The stream's own time in seconds; None where it has none."""

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of ``pts``."""

    @property
    def sample_aspect_ratio(self) -> Fraction | None:
        """A pixel's width over its height; None where the source does not say."""

    @property
    def colour(self) -> Colour | None:
        """What the numbers of the source's pixels mean; None where it gives RGB."""

    @property
    def branch(self) -> Branch:
        """What made the labels."""

    @property
    def age(self) -> int:
        """Frames to the nearest one that a network saw and the labels draw on."""

    @property
    def is_keyframe(self) -> bool:
        """Whether the high-resolution network ran."""

    @property
    def keyframe_reason(self) -> str | None:
        """Why it did; None on all other frames."""

    @property
    def distance(self) -> int:
        """Frames since the last keyframe; 0 on a keyframe."""

    @property
    def motion_source(self) -> str | None:
        """Where the motion came from; None on a keyframe."""

    @property
    def dropped(self) -> int:
        """Frames of a live source left out right before this one."""

    @property
    def latency(self) -> float | None:
        """Of a live source: seconds from the frame's arrival to its labels."""

    @property
    def speed(self) -> SpeedLike:
        """How long the frame took, by stage."""


def source_name(result: ResultLike) -> str | None:
    """The file of the image that a result is of, below the folder of the source; None where there is none.

    Results of one's own need not have it.
    """
    return getattr(result, "source_name", None)


def confidence_of(result: ResultLike) -> npt.NDArray[np.uint8] | None:
    """How sure each label of a result is, uint8 [H, W]; None where it does not say so.

    Results of one's own need not have it.
    """
    return getattr(result, "confidence", None)


@runtime_checkable
class Sink(Protocol):
    """Takes results one by one, in order, and owns what it writes until it is closed.

    Anything with these four methods is a sink. A class that inherits from ``Sink`` needs only the first
    two; leaving its ``with`` block then always closes it::

        class KeyframeCounter(Sink):
            def __init__(self) -> None:
                self.keyframes = 0

            def append(self, result: ResultLike) -> None:
                self.keyframes += result.is_keyframe

            def close(self) -> None:
                print(self.keyframes, "keyframes")

    For files that must appear whole or not at all, inherit from ``FileSink`` instead.
    """

    @abstractmethod
    def append(self, result: ResultLike) -> None:
        """Take the next result. Keep no reference to its arrays unless you mean to hold the memory."""

    @abstractmethod
    def close(self) -> None:
        """Finish what was written. A second call does nothing."""

    def __enter__(self: _Self) -> _Self:
        """Return the sink itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the sink."""
        self.close()
