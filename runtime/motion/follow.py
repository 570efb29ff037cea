"""What motion each frame gets, and which frames get none because they are keyframes.

Sources of motion:

- ``bitstream``: the codec's vectors, read as pointing to the frame before;
- ``resolved``: the codec's vectors, where they can point to other frames, read as the pixels show (``resolve``);
- ``estimated``: the pictures alone, where there are no vectors.

Modes:

- ``auto`` takes the best there is: vectors, completed by optical flow where the pixels disagree with them, which
  with several references some do. In published chaining sure vectors stay what the authors' code makes of them.
- ``bitstream`` takes vectors and nothing else; a frame without is a keyframe.
- ``estimate`` looks at the pictures only.

Vectors are sure to point to the frame before where the stream has no B-frames and one reference. Without B-frames
most of them do; with B-frames most do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from arseg_edge.operators import Chaining
from arseg_edge.runtime.motion import CHAINS
from arseg_edge.runtime.motion.chain import Motion
from arseg_edge.runtime.motion.luma import Luma, working_luma
from arseg_edge.runtime.motion.tracker import Tracker
from arseg_edge.runtime.motion.vectors import ListedVectors, listed_vectors
from arseg_edge.runtime.schedule.keyframes import Guards, KeyframeReason, Link, keyframe_reason, mismatch_reason
from arseg_edge.runtime.source.decoded_frame import DecodedFrame

MotionMode = Literal["auto", "bitstream", "estimate"]
MotionSource = Literal["bitstream", "resolved", "estimated"]


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

    def __init__(self, interval: int, chaining: Chaining, mode: MotionMode, guards: Guards | None) -> None:
        self._interval, self._mode, self._guards = interval, mode, guards
        self._chain = CHAINS[chaining]()
        # Whether sure vectors are chained as they are, at full size.
        self._pure = mode == "bitstream" or chaining == "published"
        self._tracker = Tracker(flow=mode != "bitstream")
        self._size: tuple[int, int] | None = None
        self._distance: int | None = None
        self._mismatch = 0.0
        self._reordered = False
        self._picture_type = "?"

    def follow(self, frame: DecodedFrame) -> Followed:
        """Take the next frame."""
        # Once a stream shows B-frames, no frame of it is sure to refer to the one before.
        self._reordered = self._reordered or frame.reordered
        size = frame.height, frame.width
        vectors = None
        if frame.vectors is not None and self._mode != "estimate":
            vectors = listed_vectors(frame.vectors, *size)
        sure = frame.one_reference and not self._reordered
        chained = self._pure and sure and vectors is not None
        alone = chained or self._mode == "bitstream"
        link = Link(
            motion=vectors is not None or self._mode != "bitstream",
            # Where every frame is one, as in a stream of single pictures, an I-frame says nothing.
            intra=frame.picture_type == "I" and frame.vectors is None and self._picture_type != "I",
            size_changed=self._size is not None and self._size != size,
            discontinuity=frame.discontinuity,
            corrupt=frame.corrupt,
            # Where optical flow completes the vectors, intra blocks are followed too, as ``mismatch`` shows.
            intra_share=vectors.intra_share if vectors is not None and alone else 0.0,
        )
        self._picture_type = frame.picture_type
        distance = None if self._distance is None else self._distance + 1
        luma = working_luma(frame.picture)
        reason = keyframe_reason(link, distance, self._interval, self._guards)
        if reason is None and distance is not None:
            motion, source, mismatch = self._motion(luma, vectors, sure=sure)
            reason = mismatch_reason(mismatch, self._mismatch, self._guards)
            if reason is None:
                self._distance, self._mismatch = distance, mismatch
                return Followed(motion, source, None, distance, mismatch)
        self._size, self._distance, self._mismatch = size, 0, 0.0
        self._chain.restart(*size)
        self._tracker.restart(luma, *size)
        return Followed(None, None, reason, 0, 0.0)

    def _motion(self, luma: Luma, vectors: ListedVectors | None, *, sure: bool) -> tuple[Motion, MotionSource, float]:
        if vectors is not None and sure and self._pure:
            motion = self._chain.advance(vectors.past)
            return motion, "bitstream", self._tracker.adopt(luma, motion)
        direct = sure if self._mode == "bitstream" else not self._reordered
        track = self._tracker.follow(luma, vectors, direct=direct)
        if self._pure:
            self._chain.adopt(track.motion)
        return track.motion, "estimated" if vectors is None else "bitstream" if direct else "resolved", track.mismatch
