"""What motion each frame gets, and which frames get none because they are keyframes.

Sources of motion:

- ``bitstream``: the codec's vectors, read as pointing to the last frame that others are predicted from;
- ``resolved``: the codec's vectors, where they can point to other frames, read as the pixels show (``resolve``);
- ``estimated``: the pictures alone, where there are no vectors.

Modes:

- ``auto`` takes the best there is: vectors, completed by optical flow where the pixels disagree with them, which
  with several references some do. In published chaining sure vectors stay what the authors' code makes of them.
- ``bitstream`` takes vectors and nothing else; a frame without is a keyframe.
- ``estimate`` looks at the pictures only.

When vectors are sure is written in ``source/reference_order.py``. Where they are not, most still point to the last
reference without B-frames; with B-frames most do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from arseg_edge.operators import Chaining
from arseg_edge.runtime.motion import CHAINS
from arseg_edge.runtime.motion.agreement import resized
from arseg_edge.runtime.motion.chain import Motion
from arseg_edge.runtime.motion.luma import Luma, working_luma
from arseg_edge.runtime.motion.tracker import MotionGrid, Tracker
from arseg_edge.runtime.motion.vectors import ListedVectors, listed_vectors
from arseg_edge.runtime.schedule.keyframes import Guards, KeyframeReason, Link, keyframe_reason, mismatch_reason
from arseg_edge.runtime.source.decoded_frame import DecodedFrame

MotionMode = Literal["auto", "bitstream", "estimate"]
MotionSource = Literal["bitstream", "resolved", "estimated"]

_Vectors = Literal["sure", "likely", "before keyframe", "open", "none"]
"""Where a frame's vectors point to: surely or probably to the last reference; surely to a frame before the keyframe;
not known; and there are none."""

_Way = Literal["bitstream", "published", "subpixel", "estimate"]
"""The mode; ``auto`` by its chaining."""

_Reading = Literal["chained", "direct", "resolved", "estimated"]
"""How motion is made: vectors chained as they are; taken as a start that pixels decide on; one guess among others;
or not at all."""

_READINGS: Final[dict[_Vectors, dict[_Way, _Reading | None]]] = {
    "sure": {"bitstream": "chained", "published": "chained", "subpixel": "direct"},
    "likely": {"bitstream": "resolved", "published": "direct", "subpixel": "direct"},
    "before keyframe": {"bitstream": "resolved", "published": "resolved", "subpixel": "resolved"},
    "open": {"bitstream": "resolved", "published": "resolved", "subpixel": "resolved"},
    "none": {"bitstream": None, "published": "estimated", "subpixel": "estimated", "estimate": "estimated"},
}
"""None: there is no motion."""

_SOURCES: Final[dict[_Reading, MotionSource]] = {
    "chained": "bitstream",
    "direct": "bitstream",
    "resolved": "resolved",
    "estimated": "estimated",
}


@dataclass(frozen=True, eq=False)
class Followed:
    """A frame's tie to its keyframe; without motion it is one itself."""

    motion: Motion | None
    source: MotionSource | None
    keyframe_reason: KeyframeReason | None
    distance: int
    """Frames since the last keyframe; 0 on a keyframe."""
    mismatch: float
    """Share of pixels that do not show what the keyframe shows; 0 on a keyframe."""


class Follower:
    """Takes decoded frames in display order and ties each to its keyframe."""

    def __init__(
        self,
        interval: int,
        chaining: Chaining,
        mode: MotionMode,
        guards: Guards | None,
        grid: MotionGrid = None,
    ) -> None:
        """``grid``: rows and columns of the motion; chained vectors have those of the picture in place of "working"."""
        self._grid = grid
        self._interval, self._guards = interval, guards
        self._way: _Way = chaining if mode == "auto" else mode
        self._chain = CHAINS[chaining]()
        # Whether the chain at full size is ever read.
        self._chained = self._way in ("bitstream", "published")
        self._tracker = Tracker(flow=mode != "bitstream", grid=None if self._chained else grid)
        self._size: tuple[int, int] | None = None
        self._distance: int | None = None
        self._mismatch = 0.0
        self._picture_type = "?"

    def follow(self, frame: DecodedFrame) -> Followed:
        """Take the next frame."""
        size = frame.height, frame.width
        distance = None if self._distance is None else self._distance + 1
        vectors = None
        if frame.vectors is not None and self._way != "estimate":
            vectors = listed_vectors(frame.vectors, *size)
        reading = _READINGS[_vectors(frame, distance, there=vectors is not None)][self._way]
        link = Link(
            motion=reading is not None,
            # Where every frame is one, as in a stream of single pictures, an I-frame says nothing.
            intra=frame.picture_type == "I" and frame.vectors is None and self._picture_type != "I",
            size_changed=self._size is not None and self._size != size,
            discontinuity=frame.discontinuity,
            lost_reference=frame.lost_reference,
            corrupt=frame.corrupt,
            # Where optical flow completes the vectors, intra blocks are followed too, as ``mismatch`` shows.
            intra_share=(
                vectors.intra_share
                if vectors is not None and (reading == "chained" or self._way == "bitstream")
                else 0.0
            ),
        )
        self._picture_type = frame.picture_type
        luma = working_luma(frame.picture)
        reason = keyframe_reason(link, distance, self._interval, self._guards)
        if reason is None and distance is not None and reading is not None:
            motion, mismatch = self._motion(frame, luma, vectors, reading, distance)
            reason = mismatch_reason(mismatch, self._mismatch, self._guards)
            if reason is None:
                self._distance, self._mismatch = distance, mismatch
                return Followed(self._on_grid(motion), _SOURCES[reading], None, distance, mismatch)
        self._size, self._distance, self._mismatch = size, 0, 0.0
        self._chain.restart(*size)
        self._tracker.restart(luma, *size)
        return Followed(None, None, reason, 0, 0.0)

    def _on_grid(self, motion: Motion) -> Motion:
        if self._grid in (None, "working", motion.shape[:2]):
            return motion
        return resized(motion, *self._grid)

    def _motion(
        self, frame: DecodedFrame, luma: Luma, vectors: ListedVectors | None, reading: _Reading, distance: int
    ) -> tuple[Motion, float]:
        if vectors is not None and reading == "chained":
            motion = self._chain.advance(vectors.past, droppable=frame.droppable)
            return motion, self._tracker.adopt(luma, motion, droppable=frame.droppable)
        reference = frame.reference
        track = self._tracker.follow(
            luma,
            vectors,
            direct=reading == "direct",
            reordered=frame.reordered,
            part=distance / reference if reference is not None and reference > distance else None,
            droppable=frame.droppable,
        )
        if self._chained:
            self._chain.adopt(track.motion, droppable=frame.droppable)
        return track.motion, track.mismatch


def _vectors(frame: DecodedFrame, distance: int | None, *, there: bool) -> _Vectors:
    if not there:
        return "none"
    if frame.reference is not None:
        return "sure" if distance is None or frame.reference <= distance else "before keyframe"
    return "open" if frame.reordered else "likely"
