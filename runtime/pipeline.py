"""Decoding, motion and conversion on a thread of their own, ahead of inference by a few frames.

PyAV, OpenCV and ONNX Runtime release the GIL, so the two sides really overlap. Whatever goes wrong on the
thread is raised where the frames are taken; leaving early stops the thread before anything else goes on.
"""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Final, Generic, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from arseg_edge.runtime.read_motion import MotionFrame

log = logging.getLogger(__name__)

AHEAD: Final = 2
"""Frames that wait for inference; each holds its picture and its motion."""

_PATIENCE: Final = 10.0
"""Seconds that closing waits for a source that does not answer, before it leaves the thread to itself."""

Convert = Callable[[MotionFrame], NDArray[np.uint8]]


class Ready(Protocol):
    """What inference can take at once: a dataclass, of one frame or of several that belong together."""

    @property
    def is_keyframe(self) -> bool:
        """Whether later frames need it."""

    @property
    def dropped(self) -> int:
        """Frames of a live source left out between the one before and this."""


R = TypeVar("R", bound=Ready)


@dataclass(frozen=True, eq=False)
class ReadyFrame:
    """A frame with its motion to the keyframe, and the picture that its network takes."""

    frame: MotionFrame
    image: NDArray[np.uint8]
    """uint8 [h, w, 3], what ``convert`` made of the frame."""
    convert_ms: float
    dropped: int = 0

    @property
    def is_keyframe(self) -> bool:
        """Whether later frames need its feature."""
        return self.frame.is_keyframe


def ready_frames(frames: Generator[MotionFrame, None, None], convert: Convert) -> Generator[ReadyFrame, None, None]:
    """Yield ``frames`` converted, here and now; closing it closes them."""
    try:
        for frame in frames:
            start = perf_counter()
            image = convert(frame)
            yield ReadyFrame(frame, image, (perf_counter() - start) * 1e3)
    finally:
        frames.close()


class FramesHere(Generic[R]):
    """The same without a thread, for a caller's own iterable, which may not like another one."""

    def __init__(self, frames: Generator[R, None, None], finish: Callable[[], None]) -> None:
        self._frames = frames
        self._finish = finish

    def __next__(self) -> R:
        return next(self._frames)

    def close(self) -> None:
        """Let go of the frames; safe to call twice."""
        self._frames.close()
        self._finish()


class FramesAhead(Generic[R]):
    """``frames``, made on a thread that starts when the first one is taken.

    From a ``live`` source nothing waits: when inference falls behind, frames that wait are dropped for later
    ones, while decoding goes on, since the chain of motion must not break. A keyframe is dropped only for
    the next one: the frames between need its feature.

    ``finish`` is called on the same thread when no more frames will come, for whatever reason;
    ``interrupt`` on the closing one, to wake a source that waits for data.
    """

    def __init__(
        self,
        frames: Generator[R, None, None],
        finish: Callable[[], None],
        interrupt: Callable[[], None],
        *,
        live: bool,
    ) -> None:
        self._queue: _Queue[R] = _Latest() if live else _Bounded()
        self._finish = finish
        self._interrupt = interrupt
        self._frames = frames
        arguments = (frames, finish, self._queue)
        self._thread = threading.Thread(target=_make, args=arguments, name="arseg-edge decoding", daemon=True)
        self._closed = False

    def __next__(self) -> R:
        if self._closed:
            raise StopIteration
        if self._thread.ident is None:
            self._thread.start()
            _running.add(self)
        ready = self._queue.take()
        if ready is None:
            raise StopIteration
        return ready

    def close(self) -> None:
        """Stop the thread and wait for it; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._queue.stop()
        if self._thread.ident is None:
            self._frames.close()
            self._finish()
            return
        self._interrupt()
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            log.warning("the source does not answer: its thread is left to end by itself")


# A thread that is still in FFmpeg when the interpreter goes takes the whole process down.
_running: weakref.WeakSet[FramesAhead[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for frames in list(_running):
        frames.close()


def _make(frames: Generator[R, None, None], finish: Callable[[], None], queue: _Queue[R]) -> None:
    try:
        try:
            for ready in frames:
                if not queue.put(ready):
                    break
        finally:
            frames.close()
            finish()
    except BaseException as error:
        queue.end(error)
    else:
        queue.end(None)


class _Queue(ABC, Generic[R]):
    """Frames from one thread to another, then their end, or the exception that ended them."""

    def __init__(self) -> None:
        self._waiting: deque[R] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._stopped = False
        self._error: BaseException | None = None

    @abstractmethod
    def put(self, frame: R) -> bool:
        """Hand over a frame; False when nobody wants any more."""

    def take(self) -> R | None:
        """Return the next frame, None after the last; raise what ended them."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            if self._waiting:
                self._changed.notify_all()
                return self._waiting.popleft()
            if self._error is not None:
                raise self._error
            return None

    def end(self, error: BaseException | None) -> None:
        """Say that no frame follows, because of ``error`` if there is one."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def stop(self) -> None:
        """Say that nobody wants any more."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()


class _Bounded(_Queue[R]):
    """The maker waits when enough frames do."""

    def put(self, frame: R) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < AHEAD or self._stopped)
            if not self._stopped:
                self._waiting.append(frame)
                self._changed.notify_all()
            return not self._stopped


class _Latest(_Queue[R]):
    """The maker never waits: later frames take the place of those that nobody has taken."""

    def put(self, frame: R) -> bool:
        with self._changed:
            needed = [] if frame.is_keyframe else [each for each in self._waiting if each.is_keyframe]
            lost = [each for each in self._waiting if each not in needed]
            dropped = frame.dropped + len(lost) + sum(each.dropped for each in lost)
            self._waiting = deque([*needed, cast(R, replace(cast(Any, frame), dropped=dropped))])
            self._changed.notify_all()
            return not self._stopped
