"""How the frames of a stream are coded: picture types, references, vectors."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np

from arseg_edge.runtime.motion.vectors import listed_vectors
from arseg_edge.runtime.source.decoded_frame import DecodedFrame


@dataclass(frozen=True)
class Distances:
    """Frames from one I-frame to the next, in display order."""

    shortest: int
    median: float
    longest: int


@dataclass(frozen=True)
class Coding:
    """How the frames that were read are coded; shares are from 0 to 1."""

    picture_types: dict[str, float]
    """The share of each: ``I``, ``P``, ``B``; ``?`` where there is no codec."""
    i_frames: Distances | None
    """None where there were fewer than two."""
    b_frames: int
    """Most of them in a row."""
    reordered: bool
    """Frames are decoded in another order than displayed, or the stream reserves the right to."""
    references: int | None
    """How many frames at most a P-frame can refer to; None where that does not show."""
    fewest_references: int | None
    """The same where the stream allows fewest; another number where its parameters changed on the way."""
    droppable_share: float
    """Of the frames, those that no other is predicted from, though they are no B-frames."""
    sure_share: float | None
    """Of the frames with vectors, those whose vectors surely point to one known frame (``source/reference_order.py``),
    where nothing was lost; None where there are no vectors."""
    future_share: float | None
    """Of the vectors, those of list 1, which is the future as a rule; None where there are no vectors."""
    intra_share: float | None
    """Of the blocks of frames that have vectors, those without one; None where there are no vectors."""
    interlaced: bool
    """Any frame was."""


class CodingReader:
    """Takes one frame after the other."""

    def __init__(self) -> None:
        self._references: list[int | None] = []
        self._sure: list[bool] = []
        self._droppable = 0
        self._types: list[str] = []
        self._vectors = self._future = 0
        self._intra: list[float] = []
        self._reordered = self._interlaced = False

    def add(self, frame: DecodedFrame) -> None:
        """Take one more."""
        self._types.append(frame.picture_type)
        self._references.append(frame.references)
        self._droppable += frame.droppable and frame.picture_type != "B"
        self._reordered = self._reordered or frame.reordered
        if isinstance(frame.picture, av.VideoFrame):
            self._interlaced = self._interlaced or bool(frame.picture.interlaced_frame)
        if frame.vectors is not None:
            if not (frame.discontinuity or frame.lost_reference or frame.corrupt):
                self._sure.append(frame.reference is not None)
            self._vectors += len(frame.vectors)
            self._future += int(np.count_nonzero(frame.vectors["source"] > 0))
            self._intra.append(listed_vectors(frame.vectors, frame.height, frame.width).intra_share)

    def coding(self) -> Coding:
        """What the frames so far show."""
        counts = Counter(self._types)
        references = [each for each in self._references if each is not None]
        return Coding(
            picture_types={kind: count / len(self._types) for kind, count in counts.most_common()},
            i_frames=_distances([index for index, kind in enumerate(self._types) if kind == "I"]),
            b_frames=max((len(list(run)) for kind, run in itertools.groupby(self._types) if kind == "B"), default=0),
            reordered=self._reordered,
            references=max(references, default=None),
            fewest_references=min(references, default=None),
            droppable_share=self._droppable / len(self._types),
            sure_share=statistics.fmean(self._sure) if self._sure else None,
            future_share=self._future / self._vectors if self._vectors else None,
            intra_share=statistics.fmean(self._intra) if self._intra else None,
            interlaced=self._interlaced,
        )


def _distances(places: Sequence[int]) -> Distances | None:
    if len(places) < 2:
        return None
    steps = [after - before for before, after in itertools.pairwise(places)]
    return Distances(min(steps), float(statistics.median(steps)), max(steps))
