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
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from arseg_edge.runtime.source.base import Source

log = logging.getLogger(__name__)

AHEAD: Final = 2
"""Frames that wait for inference; each holds its picture and its motion."""

_PATIENCE: Final = 10.0
"""Seconds that closing waits for a source that does not answer, before it leaves the thread to itself."""

W = TypeVar("W")
"""What waits: a frame with its motion, or several that belong together."""
R = TypeVar("R")
"""The same, ready for inference: with the pictures that the networks take."""


class Reading:
    """The source of one stream: closed when the stream ends, unless it is the caller's own, which is left as it was."""

    def __init__(self, source: Source, *, owned: bool) -> None:
        self._source, self._owned = source, owned
        self._ended = False
        # Whatever thread collects garbage may come here once more.
        self._lock = threading.RLock()

    @property
    def live(self) -> bool:
        """Whether it waits for nobody."""
        return self._source.live

    def interrupt(self) -> None:
        """Wake whoever waits for its data; any thread may call it."""
        with self._lock:
            if not self._ended:
                self._source.interrupt()

    def end(self, *, wait: bool = True) -> None:
        """Nothing more is read; where ``wait`` is False nothing is waited for. Safe to call twice."""
        with self._lock:
            ended, self._ended = self._ended, True
        if ended:
            return
        if not self._owned:
            self._source.resume()
        elif wait:
            self._source.close()
        else:
            self._source.let_go()


class FramesHere(Generic[W, R]):
    """Frames made where they are taken, for a caller's own iterable, which may not like another thread."""

    def __init__(self, frames: Generator[W, None, None], prepare: Callable[[W], R], reading: Reading) -> None:
        self._frames, self._prepare, self._reading = frames, prepare, reading

    def __next__(self) -> R:
        return self._prepare(next(self._frames))

    def close(self) -> None:
        """Let go of the frames; safe to call twice."""
        self._frames.close()
        self._reading.end()

    def stop(self) -> None:
        """The same."""
        self.close()


class FramesAhead(Generic[W, R]):
    """``frames``, made on a thread that starts when the first one is taken, and made ready by ``prepare``.

    From a live source nothing waits: when inference falls behind, frames that wait are dropped for later
    ones, while decoding goes on, since the chain of motion must not break. One that ``is_needed`` by those behind it,
    as a keyframe is, is dropped only for the next such one. They are made ready when inference takes them, so that no
    work goes into those that are dropped; from any other source on the thread, ahead of inference.
    """

    def __init__(
        self,
        frames: Generator[W, None, None],
        prepare: Callable[[W], R],
        reading: Reading,
        *,
        is_needed: Callable[[W], bool],
    ) -> None:
        self._maker: _Maker[Any]
        if reading.live:
            latest = _Latest(is_needed)
            self._maker = _Maker(frames, latest, reading)
            self._take: Callable[[], R] = lambda: prepare(latest.take())
        else:
            bounded = _Bounded[R]()
            self._maker = _Maker(_prepared(frames, prepare), bounded, reading)
            self._take = bounded.take
        self._closed = False

    def __next__(self) -> R:
        if self._closed:
            raise StopIteration
        self._maker.begin()
        return self._take()

    def stop(self) -> None:
        """Let the thread end and close the source, without waiting for that; safe to call twice, on any thread."""
        self._closed = True
        self._maker.stop()

    def close(self) -> None:
        """Stop the thread and wait for it; safe to call twice."""
        if not self._closed:
            self.stop()
            self._maker.wait(_PATIENCE)


def _prepared(frames: Generator[W, None, None], prepare: Callable[[W], R]) -> Generator[R, None, None]:
    try:
        for frame in frames:
            yield prepare(frame)
    finally:
        frames.close()


class _Maker(threading.Thread, Generic[W]):
    """Makes frames and hands them to a queue; knows nothing of whoever takes them, who may be gone."""

    def __init__(self, frames: Generator[W, None, None], queue: _Queue[W], reading: Reading) -> None:
        super().__init__(name="arseg-edge decoding", daemon=True)
        self._frames, self._queue, self._reading = frames, queue, reading

    def begin(self) -> None:
        """Start, if that has not been done."""
        if self.ident is None:
            self.start()
            _running.add(self)

    def run(self) -> None:
        """Make all frames."""
        try:
            try:
                for frame in self._frames:
                    if not self._queue.put(frame):
                        break
            finally:
                self._frames.close()
                self._reading.end()
        except BaseException as error:
            self._queue.end(error)
        else:
            self._queue.end(None)

    def stop(self) -> None:
        """Make no more frames, and end soon."""
        self._queue.stop()
        if self.ident is not None:
            self._reading.interrupt()
        else:
            self._frames.close()
            self._reading.end(wait=False)

    def wait(self, patience: float) -> None:
        """Wait until it has ended."""
        if self.ident is None or self is threading.current_thread():
            return
        self.join(patience)
        if self.is_alive():
            log.warning("the source does not answer: its thread is left to end by itself")


# A thread that is still in FFmpeg when the interpreter goes takes the whole process down.
_running: weakref.WeakSet[_Maker[Any]] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    makers = list(_running)
    for maker in makers:
        maker.stop()
    deadline = monotonic() + _PATIENCE
    for maker in makers:
        maker.wait(max(0.0, deadline - monotonic()))


class _Queue(ABC, Generic[W]):
    """Frames from one thread to another, then their end, or the exception that ended them."""

    def __init__(self) -> None:
        self._waiting: deque[W] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._stopped = False
        self._error: BaseException | None = None

    @abstractmethod
    def put(self, frame: W) -> bool:
        """Hand over a frame; False when nobody wants any more."""

    def take(self) -> W:
        """Return the next frame; raise StopIteration after the last, or what ended them."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            if self._waiting:
                self._changed.notify_all()
                return self._waiting.popleft()
            raise self._error or StopIteration

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


class _Bounded(_Queue[W]):
    """The maker waits when enough frames do."""

    def put(self, frame: W) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < AHEAD or self._stopped)
            if not self._stopped:
                self._waiting.append(frame)
                self._changed.notify_all()
            return not self._stopped


class _Latest(_Queue[W]):
    """The maker never waits: later frames take the place of those that nobody has taken."""

    def __init__(self, is_needed: Callable[[W], bool]) -> None:
        super().__init__()
        self._is_needed = is_needed

    def put(self, frame: W) -> bool:
        with self._changed:
            needed = [] if self._is_needed(frame) else [each for each in self._waiting if self._is_needed(each)]
            self._waiting = deque([*needed, frame])
            self._changed.notify_all()
            return not self._stopped
