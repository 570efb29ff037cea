"""What the runtime gives for a frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from arseg_edge.errors import SequenceError

Branch = Literal["hr", "lr", "moved"]

PQ: Final = 16
"""Transfer of SMPTE ST 2084 and ITU-R BT.2100."""
HLG: Final = 18
"""Transfer of ARIB STD-B67 and ITU-R BT.2100."""


@dataclass(frozen=True)
class Colour:
    """What the numbers of a video's pixels mean: codes of ITU-T H.273, 2 where the stream does not say."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    full_range: bool = False
    """Luma from 0 to 255, not from 16 to 235."""

    @property
    def is_hdr(self) -> bool:
        """PQ (SMPTE ST 2084) or HLG (ARIB STD-B67); its RGB is tone-mapped to BT.709."""
        return self.transfer in (PQ, HLG)

    @property
    def of_rgb(self) -> Colour:
        """The same of the RGB picture, should it become video again."""
        return BT709 if self.is_hdr else self


BT709: Final = Colour(1, 1, 1)


def ratio_text(ratio: Fraction | None) -> str | None:
    """A ratio as ffprobe writes it.

    >>> ratio_text(Fraction(4, 3))
    '4:3'
    """
    return None if ratio is None else f"{ratio.numerator}:{ratio.denominator}"


class Picture(Protocol):
    """A frame that can be had as RGB."""

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """uint8 [H, W, 3], converted when first asked for."""


@dataclass(frozen=True)
class NoPicture:
    """The picture of a result that was detached."""

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """There is none.

        Raises:
            SequenceError: always.
        """
        raise SequenceError("this result was detached from its picture, or pickled: take its rgb before that")


@dataclass(frozen=True)
class Speed:
    """How long a frame took, and what did the work."""

    milliseconds: Mapping[str, float]
    """Milliseconds by stage, in the order in which the stages ran."""
    provider: str
    """ONNX Runtime's name of the execution provider that ran the network."""
    native: bool
    """Whether the custom operators ran in the native library, not in their function bodies."""

    @property
    def total(self) -> float:
        """Milliseconds of all stages together."""
        return sum(self.milliseconds.values())

    def __repr__(self) -> str:
        stages = ", ".join(f"{stage} {value:.1f}" for stage, value in self.milliseconds.items())
        return f"Speed({stages} ms; {self.provider}{', native' if self.native else ''})"


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The labels of one frame."""

    labels: NDArray[np.uint8]
    """uint8 [H, W], the class of every pixel of the source's own picture."""
    index: int
    """0, 1, 2, … in display order."""
    pts: int
    """The steady time in units of ``time_base``: it rises from frame to frame, whatever the stream says."""
    time_base: Fraction
    """Seconds in one unit of ``pts``."""
    is_keyframe: bool
    """Whether the HR network ran."""
    keyframe_reason: str | None
    """Why it did (``runtime/schedule/keyframes.py`` lists the reasons); None on other frames."""
    distance: int
    """Frames since the last keyframe; 0 on a keyframe."""
    motion_source: str | None
    """Where the motion came from: ``bitstream``, ``resolved``, ``estimated`` or ``caller``; None on a keyframe."""
    speed: Speed
    picture: Picture
    dropped: int = 0
    """Frames of a live source that were left out just before this one, since reading or inference fell behind."""
    latency: float | None = None
    """Of a live source: seconds from the frame's arrival to its labels."""
    source_name: str | None = None
    """The picture's file, below the folder of the source; None where frames have no files of their own."""
    stream_pts: int | None = None
    """The stream's own time in units of ``time_base``, as wrong as it may be; None where it has none."""
    sample_aspect_ratio: Fraction | None = None
    """A pixel's width over its height; None where the source does not say, as with square ones."""
    colour: Colour | None = None
    """Of the source's pixels; None where it gives RGB."""

    branch: Branch = "hr"
    """What made the labels: the HR network, the LR network with its fusion, or other frames, whose labels were moved
    along."""
    age: int = 0
    """Frames to the nearest one that a network saw and these labels draw on; 0 where it saw this one."""
    confidence: NDArray[np.uint8] | None = None
    """uint8 [H, W], how sure each label is: the softmax probability of its class, times 255. Moved labels carry that of
    the frames that they draw on along, less where these do not show what this frame shows, and 0 where none does. None
    where it was not asked for (``load(confidence=True)``)."""

    @property
    def time(self) -> float:
        """The steady time in seconds."""
        return float(self.pts * self.time_base)

    @property
    def stream_time(self) -> float | None:
        """The stream's own time in seconds; None where it has none."""
        return None if self.stream_pts is None else float(self.stream_pts * self.time_base)

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The frame itself, uint8 [H, W, 3].

        Raises:
            SequenceError: the result was detached or pickled.
        """
        return self.picture.rgb

    def detach(self) -> Result:
        """Return the same without the picture and its motion vectors, which take several times the labels' memory.

        Whoever keeps many results, keeps them so. What is pickled is detached, too.
        """
        return replace(self, picture=NoPicture())

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "picture": NoPicture()}

    def __copy__(self) -> Result:
        return replace(self)

    def __repr__(self) -> str:
        reason = f", keyframe_reason={self.keyframe_reason!r}" if self.is_keyframe else ""
        return (
            f"Result(labels={list(self.labels.shape)}, index={self.index}, pts={self.pts}, "
            f"time={self.time:.3f}, branch={self.branch!r}, age={self.age}{reason})"
        )
