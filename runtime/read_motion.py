"""Decoded frames with their motion to the last keyframe: where source, motion and schedule meet."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from time import perf_counter
from typing import Final, cast, get_args

import numpy as np
import numpy.typing as npt

from arseg_edge.errors import UsageError
from arseg_edge.runtime.motion import CHAINS, Chaining
from arseg_edge.runtime.motion.chain import Motion
from arseg_edge.runtime.motion.follow import Follower, MotionMode, MotionSource
from arseg_edge.runtime.motion.tracker import MotionGrid
from arseg_edge.runtime.schedule.keyframes import INTERVAL, Guards, KeyframeReason, check_interval
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.open_source import Source, SourceLike, open_source

GUARDS: Final = Guards()


@dataclass(frozen=True, eq=False, repr=False)
class MotionFrame:
    """A decoded frame and how its pixels lie in the last keyframe."""

    decoded: DecodedFrame
    motion: Motion | None
    """float32 [H, W, 2]: the content at x lies at x + (dx, dy) pixels in the keyframe. None on a keyframe.

    ``motion_frames`` can give it on another grid."""
    motion_source: MotionSource | None
    """Where the motion comes from (``motion/follow.py``); None on a keyframe."""
    keyframe_reason: KeyframeReason | None
    """None where it is not a keyframe."""
    distance: int
    """Frames since the last keyframe; 0 on a keyframe."""
    decode_ms: float
    """Milliseconds that reading and decoding took, without the conversion to RGB, and without waiting for data that a
    live source had not sent."""
    motion_ms: float
    """Milliseconds that finding the motion took."""
    mismatch: float
    """The share of pixels, 0 to 1, that do not show what the keyframe shows there; 0 on a keyframe."""

    @property
    def rgb(self) -> npt.NDArray[np.uint8]:
        """uint8 [H, W, 3], converted when first asked for."""
        return self.decoded.rgb

    @property
    def is_keyframe(self) -> bool:
        """Whether it starts a chain of its own."""
        return self.keyframe_reason is not None

    @property
    def index(self) -> int:
        """0, 1, 2, ... in display order."""
        return self.decoded.index

    @property
    def pts(self) -> int:
        """The steady time in units of ``time_base``; rises from frame to frame (``source/clock.py``)."""
        return self.decoded.pts

    @property
    def dropped(self) -> int:
        """Frames of a live source left out right before this one, since reading fell behind (``source/backlog.py``)."""
        return self.decoded.dropped

    @property
    def time_base(self) -> Fraction:
        """Seconds in one unit of ``pts``."""
        return self.decoded.time_base

    @property
    def time(self) -> float:
        """The steady time in seconds."""
        return self.decoded.time

    @property
    def stream_pts(self) -> int | None:
        """The stream's own time in units of ``time_base``, as wrong as it may be; None where it has none."""
        return self.decoded.stream_pts

    @property
    def stream_time(self) -> float | None:
        """The stream's own time in seconds."""
        return self.decoded.stream_time

    @property
    def sample_aspect_ratio(self) -> Fraction | None:
        """A pixel's width over its height; None where the source does not say."""
        return self.decoded.sample_aspect_ratio

    def __repr__(self) -> str:
        height, width = self.decoded.height, self.decoded.width
        motion = None if self.motion is None else list(self.motion.shape)
        return (
            f"MotionFrame(index={self.index}, pts={self.pts}, time={self.time:.3f}, "
            f"rgb={[height, width, 3]}, motion={motion}, "
            f"motion_source={self.motion_source!r}, keyframe_reason={self.keyframe_reason!r}, distance={self.distance})"
        )


def read_motion(
    source: SourceLike,
    interval: int = INTERVAL,
    chaining: Chaining = "subpixel",
    motion: MotionMode = "auto",
    guards: Guards | None = GUARDS,
) -> Generator[MotionFrame, None, None]:
    """Decode a source and give each frame with its motion to the last keyframe.

    >>> for frame in read_motion("street.mp4", interval=12):
    ...     if frame.is_keyframe:
    ...         keyframe = frame.rgb
    ...     else:
    ...         y, x = 40, 60
    ...         dx, dy = frame.motion[y, x]
    >>> frame.index, frame.distance, frame.motion.shape
    (13, 1, (96, 128, 2))
    >>> print(f"({x}, {y}) was at ({x + dx:.1f}, {y + dy:.1f})")
    (60, 40) was at (62.0, 41.0)

    Closing the generator, at any point, closes the source.

    Args:
        source: a video file, a directory of images or a pattern of their names, a URL, or an iterable of RGB uint8
            [H, W, 3] arrays or ``av.VideoFrame``.
        interval: a keyframe at least every so many frames.
        chaining: ``subpixel`` or ``published`` (``motion/subpixel.py``, ``motion/published.py``).
        motion: where motion may come from: ``auto``, ``bitstream`` or ``estimate`` (``motion/follow.py``).
        guards: what else makes a frame a keyframe (``schedule/keyframes.py``); None for nothing else.

    Raises:
        UsageError: an interval, chaining or kind of motion that makes no sense.
        SourceError: the source cannot be opened or read, or holds no frame.
        CodecError: nothing here decodes it.
    """
    _check(interval, chaining, motion)
    opened = open_source(source)

    def frames() -> Generator[MotionFrame | None, None, None]:
        try:
            yield None
            yield from motion_frames(opened, interval, chaining, motion, guards)
        finally:
            opened.let_go()  # this may be garbage collection, in which nobody waits

    # A generator that was never started is closed without running any of it: this one waits inside ``try``.
    begun = frames()
    next(begun)
    return cast(Generator[MotionFrame, None, None], begun)


def motion_frames(
    source: Source,
    interval: int = INTERVAL,
    chaining: Chaining = "subpixel",
    motion: MotionMode = "auto",
    guards: Guards | None = GUARDS,
    grid: MotionGrid = None,
) -> Generator[MotionFrame, None, None]:
    """The same for a source that is open already, and stays open.

    With ``grid`` (a, b) the motion is [a, b, 2], in cells of that grid: what follows at another size than the
    picture's needs no more vectors than that. With "working" it is on the grid that it was found on, whichever.

    Raises: as ``read_motion``.
    """
    _check(interval, chaining, motion)
    return _motion_frames(source, Follower(interval, chaining, motion, guards, grid))


def _check(interval: int, chaining: Chaining, motion: MotionMode) -> None:
    check_interval(interval)
    if chaining not in CHAINS:
        raise UsageError(f"chaining {chaining!r}: must be one of {', '.join(CHAINS)}")
    if motion not in get_args(MotionMode):
        raise UsageError(f"motion {motion!r}: must be one of {', '.join(get_args(MotionMode))}")


def _motion_frames(source: Source, follower: Follower) -> Generator[MotionFrame, None, None]:
    for decoded, decode_ms in source.timed_frames():
        start = perf_counter()
        followed = follower.follow(decoded)
        yield MotionFrame(
            decoded=decoded,
            motion=followed.motion,
            motion_source=followed.source,
            keyframe_reason=followed.keyframe_reason,
            distance=followed.distance,
            decode_ms=decode_ms,
            motion_ms=(perf_counter() - start) * 1e3,
            mismatch=followed.mismatch,
        )
