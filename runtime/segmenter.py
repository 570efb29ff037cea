"""The segmenter: a bundle at work on a video, or on frames that a caller decodes."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from time import monotonic, perf_counter
from types import TracebackType
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from arseg_edge.bundle import Bundle
from arseg_edge.errors import FrameError, SequenceError, SizeError, UsageError
from arseg_edge.manifest import ClassInfo, Manifest
from arseg_edge.results import Result, Speed
from arseg_edge.runtime.inference.checks import check_frame, checked_motion
from arseg_edge.runtime.inference.sessions import Sessions
from arseg_edge.runtime.motion.follow import MotionMode
from arseg_edge.runtime.pipeline import FramesAhead, FramesHere, ReadyFrame, ready_frames
from arseg_edge.runtime.read_motion import MotionFrame, motion_frames
from arseg_edge.runtime.source.iterable import IterableSource
from arseg_edge.runtime.source.open_source import Source, SourceLike, open_source
from arseg_edge.runtime.stream import ResultStream

LrResize = Literal["exact", "fast"]
"""How a frame becomes the LR branch's picture: as in training, or straight from the decoder's, averaged down."""

_STEP_TIME_BASE: Final = Fraction(1, 25)
"""A caller who decodes has times of their own; results of ``step`` count at a nominal rate."""


@dataclass(frozen=True)
class Settings:
    """How a segmenter goes about a stream; :func:`arseg_edge.load` says what each means."""

    interval: int
    resize: bool = False
    lr_resize: LrResize = "exact"
    motion: MotionMode = "auto"


class Segmenter:
    """Runs one bundle; made by :func:`arseg_edge.load`. Use one for each thread.

    A context manager. After :meth:`close` it refuses work; a stream that is cut off in the middle closes
    its source at once.
    """

    def __init__(self, bundle: Bundle, sessions: Sessions, settings: Settings) -> None:
        self.bundle = bundle
        self._sessions = sessions
        self._settings = settings
        self._steps = 0
        self._since_keyframe = 0
        self._frame_size: tuple[int, int] | None = None
        # Whoever runs the networks owns the keyframe's feature; anybody else must not go on with it.
        self._owner: object = None
        self._closed = False

    @property
    def interval(self) -> int:
        """A keyframe comes at least every so many frames."""
        return self._settings.interval

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about itself."""
        return self.bundle.manifest

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """Names and colours; label ``i`` is ``classes[i]``."""
        return self.manifest.classes

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of the execution provider that runs the networks."""
        return self._sessions.provider.name

    @property
    def native(self) -> bool:
        """Whether the custom operators run in the native library."""
        return self._sessions.native

    def stream(self, source: SourceLike | Source, *, strict: bool = False) -> ResultStream:
        """Return the results for every frame of ``source``, in display order.

        Args:
            source: a video or image file, a directory of images or a pattern of their names (``frames/*.png``,
                ``frames/%05d.jpg``), a URL, an iterable of RGB uint8 [H, W, 3] arrays or ``av.VideoFrame``, or a
                source that is already open, which then stays open.
            strict: an image of a directory that cannot be read ends the stream, instead of being left out. A source
                that is already open has been told so when it was opened.

        Raises:
            SourceError: the source cannot be opened or read, or holds no frame.
            SizeError: the bundle does not take frames of this size.
            SequenceError: the segmenter is closed, or was used otherwise while the stream ran.

        Example::

            for result in segmenter.stream("video.mp4"):
                print(result.index, result.time, result.labels.shape)
        """
        self._check_open()
        opened = source if isinstance(source, Source) else open_source(source, strict=strict)
        if opened.height is not None and opened.width is not None:
            try:
                self._check_size(opened.height, opened.width)
            except SizeError:
                if opened is not source:
                    opened.close()
                raise
        return self._stream(opened, owned=opened is not source)

    def _stream(self, source: Source, *, owned: bool) -> ResultStream:
        self.reset()
        owner = self._owner = object()
        settings = self._settings
        frames = ready_frames(
            motion_frames(source, settings.interval, self.manifest.motion.chaining, settings.motion), self._image
        )

        def run(ready: ReadyFrame) -> Result:
            if self._owner is not owner:
                raise SequenceError(
                    "the segmenter was used for something else while a stream ran: load a segmenter for each stream"
                )
            return self._run_frame(ready)

        def forget() -> None:
            if self._owner is owner:
                self._sessions.forget()

        finish = source.close if owned else _nothing
        if isinstance(source, IterableSource):
            return ResultStream(FramesHere(frames, finish), run, forget)
        return ResultStream(FramesAhead(frames, finish, source.interrupt, live=source.live), run, forget)

    def _image(self, frame: MotionFrame) -> NDArray[np.uint8]:
        """Return the picture that the branch for ``frame`` takes."""
        height, width = self._check_size(frame.decoded.height, frame.decoded.width)
        if self._settings.lr_resize == "fast" and not frame.is_keyframe:
            return frame.decoded.rgb_at((int(height * self._sessions.scale), int(width * self._sessions.scale)))
        return _resized(frame.rgb, (height, width))

    def _run_frame(self, ready: ReadyFrame) -> Result:
        frame = ready.frame
        size = frame.decoded.height, frame.decoded.width
        labels, stage, milliseconds = self._segment(ready.image, frame.motion, size)
        stages = {
            "decode": frame.decode_ms,
            "motion": frame.motion_ms,
            "convert": ready.convert_ms,
            stage: milliseconds,
        }
        arrived = frame.decoded.arrived
        return Result(
            labels=labels,
            index=frame.index,
            pts=frame.pts,
            time_base=frame.time_base,
            is_keyframe=frame.is_keyframe,
            keyframe_reason=frame.keyframe_reason,
            distance=frame.distance,
            motion_source=frame.motion_source,
            speed=Speed(stages, self.provider, self.native),
            picture=frame.decoded,
            dropped=ready.dropped,
            latency=None if arrived is None else monotonic() - arrived,
            source_name=frame.decoded.source_name,
            stream_pts=frame.stream_pts,
            sample_aspect_ratio=frame.decoded.sample_aspect_ratio,
            colour=frame.decoded.colour,
        )

    def step(
        self,
        rgb: NDArray[np.uint8],
        *,
        motion: NDArray[np.floating[Any]] | None = None,
        keyframe: bool = False,
    ) -> Result:
        """Segment one frame that the caller decoded; the caller decides which frames are keyframes.

        Args:
            rgb: uint8 [H, W, 3].
            motion: [H, W, 2], pixels, (dx, dy) from this frame to the last keyframe. A frame without it is a
                keyframe: missing motion never passes for none.
            keyframe: run the HR network; then ``motion`` must be None.

        Raises:
            FrameError: an array of the wrong kind or size, or motion that is not finite.
            SizeError: the bundle does not take frames of this size.
            SequenceError: ``motion`` before any keyframe, or a closed segmenter.
            UsageError: both ``keyframe`` and ``motion``.

        Example::

            first = segmenter.step(rgb, keyframe=True)
            second = segmenter.step(next_rgb, motion=displacement)
        """
        self._check_open()
        check_frame(rgb)
        height, width = rgb.shape[:2]
        self._check_size(height, width)
        if motion is not None:
            if keyframe:
                raise UsageError("both keyframe=True and motion: a keyframe has none, leave one out")
            if not self._sessions.has_keyframe or self._owner is not self:
                raise SequenceError("motion before any keyframe: call step(rgb, keyframe=True) first")
            if self._frame_size != (height, width):
                raise FrameError(
                    f"frame is {height}x{width} but the last keyframe was {{}}x{{}}: make it a keyframe".format(
                        *(self._frame_size or (0, 0))
                    )
                )
            motion = checked_motion(motion, height, width)
        reason = None if motion is not None else "requested" if keyframe else "no-motion"
        if motion is None and not keyframe and not self._sessions.has_keyframe:
            reason = "first"
        self._owner = self
        labels, stage, milliseconds = self._segment(
            _resized(rgb, self._check_size(height, width)), motion, (height, width)
        )
        index, self._steps = self._steps, self._steps + 1
        self._since_keyframe = 0 if motion is None else self._since_keyframe + 1
        self._frame_size = (height, width)
        return Result(
            labels=labels,
            index=index,
            pts=index,
            time_base=_STEP_TIME_BASE,
            is_keyframe=motion is None,
            keyframe_reason=reason,
            distance=self._since_keyframe,
            motion_source=None if motion is None else "caller",
            speed=Speed({stage: milliseconds}, self.provider, self.native),
            picture=_Given(rgb),
        )

    def reset(self) -> None:
        """Forget the keyframe and start counting anew; a stream that still runs must not go on."""
        self._check_open()
        self._sessions.forget()
        self._owner = None
        self._steps = self._since_keyframe = 0
        self._frame_size = None

    def close(self) -> None:
        """Let go of the keyframe and refuse further work; safe to call twice."""
        self._sessions.forget()
        self._owner = None
        self._closed = True

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Segmenter({self.bundle!r}, interval={self.interval}, {self.provider})"

    def _segment(
        self, image: NDArray[np.uint8], motion: NDArray[np.float32] | None, size: tuple[int, int]
    ) -> tuple[NDArray[np.uint8], str, float]:
        """Return labels for a frame of ``size`` (H, W), the stage that made them, and its milliseconds.

        ``image`` is what the branch takes; ``motion`` is [H, W, 2].
        """
        network_size = self._check_size(*size)
        start = perf_counter()
        if motion is None:
            stage, labels = "hr", self._sessions.run_keyframe(image)
        else:
            if network_size != size:
                ratio = np.array([network_size[1] / size[1], network_size[0] / size[0]], np.float32)
                motion = np.asarray(cv2.resize(motion, network_size[::-1]), np.float32) * ratio
            stage, labels = "lr", self._sessions.run_nonkeyframe(image, motion)
        if network_size != size:
            back = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
            labels = np.asarray(back, np.uint8)
        return labels, stage, (perf_counter() - start) * 1e3

    def _check_open(self) -> None:
        if self._closed:
            raise SequenceError("the segmenter is closed: load the bundle again")

    def _check_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size that the networks run at for a frame of this size."""
        low, high, fixed = self.manifest.smallest_size, self.manifest.largest_size, self.manifest.size
        if fixed is not None:
            if fixed == (height, width) or self._settings.resize:
                return fixed
            raise SizeError(
                f"frames of {height}x{width} (height x width) do not fit {self.bundle.path.name}, exported for "
                f"{fixed[0]}x{fixed[1]}: let them be resized (resize=True, --resize), or export it for any size"
            )
        if not (low[0] <= height <= high[0] and low[1] <= width <= high[1]):
            raise SizeError(
                f"frames of {height}x{width} (height x width) are outside what {self.bundle.path.name} takes, "
                f"{low[0]}x{low[1]} to {high[0]}x{high[1]}: scale the video"
            )
        return height, width


def _nothing() -> None:
    pass


def _resized(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if rgb.shape[:2] == size:
        return rgb
    return np.asarray(cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


@dataclass(frozen=True)
class _Given:
    """A picture that is RGB already."""

    rgb: NDArray[np.uint8]
