"""Decoding, motion and conversion on a thread of their own, ahead of inference by a few frames.

PyAV, OpenCV and ONNX Runtime release the GIL, so the two sides really overlap. Whatever goes wrong on the
thread is raised where the frames are taken; leaving early stops the thread before anything else goes on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from arseg_edge.runtime.read_motion import MotionFrame

AHEAD: Final = 2
"""Frames that wait for inference; each holds its picture and its motion."""


Convert = Callable[[MotionFrame], NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class ReadyFrame:
    """A frame that inference can take at once."""

    frame: MotionFrame
    image: NDArray[np.uint8]
    """uint8 [h, w, 3], what ``convert`` made of the frame."""
    convert_ms: float


def frames_ahead(
    frames: Generator[MotionFrame, None, None], convert: Convert, *, live: bool
) -> Generator[ReadyFrame, None, None]:
    """Yield ``frames``, made and converted on a thread of their own.

    From a live source nothing waits: when inference falls behind, frames that wait are dropped for later
    ones, while decoding goes on, since the chain of motion must not break. A keyframe is dropped only for
    the next one: the frames between need its feature.

    Closing the generator closes ``frames``, on their thread, and joins it.
    """
    queue = _Latest() if live else _Bounded()
    thread = threading.Thread(target=_make, args=(frames, convert, queue), name="arseg-edge decoding", daemon=True)
    thread.start()
    try:
        while (frame := queue.take()) is not None:
            yield frame
    finally:
        queue.stop()
        thread.join()


def _make(frames: Generator[MotionFrame, None, None], convert: Convert, queue: _Queue) -> None:
    try:
        try:
            for frame in frames:
                start = perf_counter()
                image = convert(frame)
                if not queue.put(ReadyFrame(frame, image, (perf_counter() - start) * 1e3)):
                    break
        finally:
            frames.close()
    except BaseException as error:
        queue.end(error)
    else:
        queue.end(None)


class _Queue:
    """Frames from one thread to another, then their end, or the exception that ended them."""

    def __init__(self) -> None:
        self._waiting: deque[ReadyFrame] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._stopped = False
        self._error: BaseException | None = None

    def put(self, frame: ReadyFrame) -> bool:
        """Hand over a frame; False when nobody wants any more."""
        raise NotImplementedError

    def take(self) -> ReadyFrame | None:
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


class _Bounded(_Queue):
    """The maker waits when enough frames do."""

    def put(self, frame: ReadyFrame) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < AHEAD or self._stopped)
            if not self._stopped:
                self._waiting.append(frame)
                self._changed.notify_all()
            return not self._stopped


class _Latest(_Queue):
    """The maker never waits: later frames take the place of those that nobody has taken."""

    def put(self, frame: ReadyFrame) -> bool:
        with self._changed:
            needed = [] if frame.frame.is_keyframe else [each for each in self._waiting if each.frame.is_keyframe]
            self._waiting = deque([*needed, frame])
            self._changed.notify_all()
            return not self._stopped
