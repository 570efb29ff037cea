"""The segmenter: a bundle at work on a video, or on frames that a caller decodes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic, perf_counter
from types import TracebackType
from typing import Any, Literal
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from arseg_edge.bundle import Bundle
from arseg_edge.errors import SequenceError, SizeError
from arseg_edge.manifest import ClassInfo, Manifest
from arseg_edge.results import Branch, Result, Speed
from arseg_edge.runtime.adaptive import GroupRunner, ReadyGroup, is_needed, ready_group
from arseg_edge.runtime.costs import measure_costs, sample
from arseg_edge.runtime.inference.keyframe_state import KeyframeState
from arseg_edge.runtime.inference.network_size import network_size
from arseg_edge.runtime.inference.networks import Networks
from arseg_edge.runtime.motion.follow import MotionMode
from arseg_edge.runtime.pipeline import FramesAhead, FramesHere, Reading
from arseg_edge.runtime.read_motion import GUARDS, MotionFrame, motion_frames
from arseg_edge.runtime.schedule.adaptive import (
    TOLERANCE,
    BothSides,
    Group,
    Intervals,
    OneSide,
    ScheduledFrame,
    TiedFrame,
)
from arseg_edge.runtime.schedule.budget import Plan, intervals_of, plan
from arseg_edge.runtime.schedule.keyframes import Guards
from arseg_edge.runtime.schedule.variants import LOOKS
from arseg_edge.runtime.source.iterable import IterableSource
from arseg_edge.runtime.source.open_source import Source, SourceLike, open_source
from arseg_edge.runtime.steps import Steps
from arseg_edge.runtime.stream import ResultStream
from arseg_edge.runtime.tied_frames import tied_frames

log = logging.getLogger(__name__)

LrResize = Literal["exact", "fast"]
"""How a frame becomes the LR branch's picture: as in training, or straight from the decoder's, averaged down."""

Schedule = Literal["adaptive", "paper"]
"""Networks where the video asks for them and labels moved along between, or HR every interval and LR between."""


@dataclass(frozen=True)
class Settings:
    """How a segmenter goes about a stream; :func:`arseg_edge.load` says what each means."""

    interval: int
    size: tuple[int, int] | None = None
    resize: bool = False
    lr_resize: LrResize = "exact"
    motion: MotionMode = "auto"
    schedule: Schedule = "adaptive"
    tolerance: float = TOLERANCE
    lookahead: bool = True
    anchors: Intervals | None = None
    """Of the adaptive schedule; None: ``interval``, with a future and without."""
    looks: int | None = LOOKS
    """Without a future, the LR network sees a frame at least every so many; None: it never runs."""
    budget: float | None = None
    """Of the adaptive schedule: milliseconds a frame, from which ``anchors`` and ``looks`` follow then."""
    threads: int = 1
    guards: Guards | None = GUARDS
    confidence: bool = False


@dataclass(frozen=True, eq=False)
class _ReadyFrame:
    """A frame with its motion to the keyframe, and the picture that its network takes."""

    frame: MotionFrame
    image: NDArray[np.uint8]
    """uint8 [h, w, 3]."""
    convert_ms: float


def scheduled_groups(
    source: Source, settings: Settings, frames: Iterator[TiedFrame] | None = None
) -> Generator[Group, None, None]:
    """Follow an open source by the adaptive schedule; ``frames`` are its own, where they are already being read."""
    anchors = settings.anchors or Intervals(settings.interval, settings.interval)
    schedule: BothSides | OneSide
    if _both_sides(source, settings):
        schedule = BothSides(anchors.both_sides, settings.tolerance)
    else:
        schedule = OneSide(anchors.one_side, settings.tolerance, settings.looks)
    return schedule.groups(tied_frames(source, settings.motion) if frames is None else frames)


def _both_sides(source: Source, settings: Settings) -> bool:
    return settings.lookahead and source.at_hand


class Segmenter:
    """Runs one bundle; made by :func:`arseg_edge.load`.

    Several streams may run at once, each with its own keyframe, from several threads too. ``step`` and ``reset``
    are one more stream, and belong to one thread at a time.

    A context manager. After :meth:`close` it refuses work; a stream that is cut off in the middle closes
    its source at once.
    """

    def __init__(self, bundle: Bundle, networks: Networks, settings: Settings) -> None:
        """Take networks that are loaded; raises ``SizeError`` where they do not run at the size that is set."""
        self.bundle = bundle
        self._networks = networks
        self._settings = settings
        self._network_size = network_size(bundle.manifest, bundle.path.name, settings.size, resize=settings.resize)
        self._steps = Steps(networks, self._network_size, confidence=settings.confidence)
        self._states: WeakSet[KeyframeState] = WeakSet()
        """Of all streams: a feature that is kept holds the memory that ONNX Runtime computed it in."""
        self._plans: dict[tuple[tuple[int, int], bool], Plan] = {}
        self._planning = threading.Lock()
        self._closed = False

    @property
    def interval(self) -> int:
        """A keyframe comes at least every so many frames; ``plans`` says how many where there is a budget."""
        return self._settings.interval

    @property
    def plans(self) -> tuple[Plan, ...]:
        """What the budget came to, for each size of frames that streams had so far; empty without a budget."""
        return tuple(self._plans.values())

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
        return self._networks.provider.name

    @property
    def native(self) -> bool:
        """Whether the custom operators run in the native library."""
        return self._networks.native

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
            SequenceError: the segmenter is closed.

        Example::

            for result in segmenter.stream("video.mp4"):
                print(result.index, result.time, result.labels.shape)
        """
        self._check_open()
        opened = source if isinstance(source, Source) else open_source(source, strict=strict)
        if opened.height is not None and opened.width is not None:
            try:
                self._network_size.of(opened.height, opened.width)
            except SizeError:
                if opened is not source:
                    opened.close()
                raise
        return self._stream(opened, owned=opened is not source)

    def _stream(self, source: Source, *, owned: bool) -> ResultStream:
        reading = Reading(source, owned=owned)
        return self._paper(source, reading) if self._settings.schedule == "paper" else self._adaptive(source, reading)

    def _new_state(self, *, logits: bool) -> KeyframeState:
        state = KeyframeState(self._networks, logits=logits, confidence=self._settings.confidence)
        self._states.add(state)
        return state

    def _paper(self, source: Source, reading: Reading) -> ResultStream:
        settings, state = self._settings, self._new_state(logits=False)
        frames = motion_frames(
            source,
            settings.interval,
            self.manifest.chaining,
            settings.motion,
            settings.guards,
            grid=self._network_size.common or ("working" if self._networks.takes_any_grid else None),
        )

        def prepare(frame: MotionFrame) -> _ReadyFrame:
            start = perf_counter()
            image = self._image(frame)
            return _ReadyFrame(frame, image, (perf_counter() - start) * 1e3)

        def run(ready: _ReadyFrame) -> tuple[Result]:
            self._check_open()
            return (self._run_frame(state, ready),)

        if isinstance(source, IterableSource):
            return ResultStream(FramesHere(frames, prepare, reading), run, state.forget)
        ahead = FramesAhead(frames, prepare, reading, is_needed=lambda frame: frame.is_keyframe)
        return ResultStream(ahead, run, state.forget)

    def _adaptive(self, source: Source, reading: Reading) -> ResultStream:
        settings = self._settings
        runner = GroupRunner(
            self._new_state(logits=True),
            len(self.classes),
            self.manifest.label_rule,
            provider=self.provider,
            native=self.native,
            threads=settings.threads,
        )
        frames = (
            scheduled_groups(source, settings) if settings.budget is None else self._budgeted(source, settings.budget)
        )

        def prepare(group: Group) -> ReadyGroup:
            return ready_group(group, self._picture)

        def run(ready: ReadyGroup) -> Iterator[Result]:
            self._check_open()
            return runner.run(ready)

        if isinstance(source, IterableSource):
            return ResultStream(FramesHere(frames, prepare, reading), run, runner.close)
        return ResultStream(FramesAhead(frames, prepare, reading, is_needed=is_needed), run, runner.close)

    def _budgeted(self, source: Source, budget: float) -> Generator[Group, None, None]:
        """Follow an open source by the plan for its size, which is made when the first frames of such are there."""
        settings, frames = self._settings, tied_frames(source, self._settings.motion)
        first, frames = sample(frames)
        if first:
            chosen = self._plan(first, budget, lookahead=_both_sides(source, settings))
            settings = replace(settings, anchors=intervals_of(chosen), looks=chosen.looks)
        yield from scheduled_groups(source, settings, frames)

    def _plan(self, frames: Sequence[TiedFrame], budget: float, *, lookahead: bool) -> Plan:
        """Return what the budget comes to for such frames: measured once, and the same ever after."""
        size = frames[0].decoded.height, frames[0].decoded.width
        with self._planning:
            if (size, lookahead) not in self._plans:
                costs = measure_costs(
                    frames,
                    self._new_state(logits=True),
                    self._picture,
                    len(self.classes),
                    self.manifest.label_rule,
                    lookahead=lookahead,
                    lr=self._networks.has_lr and not lookahead,
                )
                chosen = plan(budget, costs, self.manifest.interval, size=size, lookahead=lookahead)
                log.log(logging.INFO if chosen.met else logging.WARNING, "%s", chosen)
                self._plans[size, lookahead] = chosen
            return self._plans[size, lookahead]

    def _picture(self, frame: ScheduledFrame) -> NDArray[np.uint8]:
        """Return the picture that the network for ``frame`` takes."""
        decoded = frame.tied.decoded
        own = decoded.height, decoded.width
        size = self._network_size.of(*own)
        if frame.branch == "lr" and self._settings.lr_resize == "fast":
            return decoded.rgb_at(self._networks.lr_size(size))
        return decoded.rgb if size == own else decoded.rgb_at(size)

    def _image(self, frame: MotionFrame) -> NDArray[np.uint8]:
        """Return the picture that the branch for ``frame`` takes."""
        decoded = frame.decoded
        own = decoded.height, decoded.width
        size = self._network_size.of(*own)
        if self._settings.lr_resize == "fast" and not frame.is_keyframe:
            return decoded.rgb_at(self._networks.lr_size(size))
        return frame.rgb if size == own else decoded.rgb_at(size)

    def _run_frame(self, state: KeyframeState, ready: _ReadyFrame) -> Result:
        frame = ready.frame
        size = frame.decoded.height, frame.decoded.width
        start = perf_counter()
        branch: Branch = "hr" if frame.motion is None else "lr"
        if frame.motion is None:
            seen = state.run_keyframe(ready.image, size)
        else:
            seen = state.run_nonkeyframe(ready.image, frame.motion, size)
        stages = {
            "decode": frame.decode_ms,
            "motion": frame.motion_ms,
            "convert": ready.convert_ms,
            branch: (perf_counter() - start) * 1e3,
        }
        arrived = frame.decoded.arrived
        return Result(
            labels=seen.labels,
            confidence=seen.confidence,
            index=frame.index,
            pts=frame.pts,
            time_base=frame.time_base,
            is_keyframe=frame.is_keyframe,
            keyframe_reason=frame.keyframe_reason,
            distance=frame.distance,
            motion_source=frame.motion_source,
            speed=Speed(stages, self.provider, self.native),
            picture=frame.decoded,
            latency=None if arrived is None else monotonic() - arrived,
            source_name=frame.decoded.source_name,
            stream_pts=frame.stream_pts,
            sample_aspect_ratio=frame.decoded.sample_aspect_ratio,
            colour=frame.decoded.colour,
            branch=branch,
        )

    def step(
        self,
        rgb: NDArray[np.uint8],
        *,
        motion: NDArray[np.floating[Any]] | None = None,
        keyframe: bool = False,
        branch: Branch | None = None,
    ) -> Result:
        """Segment one frame that the caller decoded; the caller decides which branch makes the labels.

        Args:
            rgb: uint8 [H, W, 3].
            motion: [H, W, 2], pixels of ``rgb``, (dx, dy) from this frame to the last keyframe. A frame without it is a
                keyframe: missing motion never passes for none.
            keyframe: run the HR network; then ``motion`` must be None.
            branch: with ``motion`` ``"lr"`` runs the LR network with its fusion, and ``"moved"`` no network at all: the
                keyframe's labels move along. None is ``"lr"``, or ``"moved"`` where the bundle has HR alone. ``"hr"``
                is another word for ``keyframe``.

        Raises:
            FrameError: an array of the wrong kind or size, or motion that is not finite.
            SizeError: the bundle does not take frames of this size.
            SequenceError: ``motion`` before any keyframe, or a closed segmenter.
            UsageError: both ``keyframe`` and ``motion``, or a branch that does not go with them, or that the bundle
                lacks.

        Example::

            first = segmenter.step(rgb, keyframe=True)
            second = segmenter.step(next_rgb, motion=displacement)
            third = segmenter.step(one_more, motion=displacement_to_first, branch="moved")
        """
        self._check_open()
        return self._steps.step(rgb, motion=motion, keyframe=keyframe, branch=branch)

    def reset(self) -> None:
        """Forget the keyframe of ``step`` and start counting anew."""
        self._check_open()
        self._steps.reset()

    def close(self) -> None:
        """Let go of the networks and refuse further work; safe to call twice."""
        self._closed = True
        self._steps.reset()
        for state in list(self._states):
            state.forget()
        self._networks.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Segmenter({self.bundle!r}, interval={self.interval}, {self.provider})"

    def _check_open(self) -> None:
        if self._closed:
            raise SequenceError("the segmenter is closed: load the bundle again")
