"""The results of one source, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from arseg_edge.results import Result

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class ReadyFrames(Protocol, Generic[R_co]):
    """What is ready for inference, one by one, and can be broken off."""

    def __next__(self) -> R_co:
        """Return the next; raise StopIteration after the last."""

    def close(self) -> None:
        """Let go of the source."""

    def stop(self) -> None:
        """The same, without waiting for anything."""


class ResultStream(Iterator[Result]):
    """An iterator over results that closes its source at the end, when closed, and when dropped.

    Also a context manager, for those who leave early.
    """

    def __init__(
        self, frames: ReadyFrames[R], run: Callable[[R], Iterable[Result]], finish: Callable[[], None]
    ) -> None:
        self._frames: ReadyFrames[object] = frames
        self._results = _results(frames, run)
        self._finish = finish
        self._closed = False

    def __next__(self) -> Result:
        if self._closed:
            raise StopIteration
        try:
            return next(self._results)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop decoding and close the source; safe to call twice."""
        if not self._closed:
            self._closed = True
            self._frames.close()
            self._finish()

    def __enter__(self) -> ResultStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Any thread may collect it, the one that decodes for it too: nothing is waited for.
        if not self._closed:
            self._closed = True
            self._frames.stop()
            self._finish()


def _results(frames: ReadyFrames[R], run: Callable[[R], Iterable[Result]]) -> Iterator[Result]:
    last = -1
    while True:
        try:
            ready = next(frames)
        except StopIteration:
            return
        for result in run(ready):
            dropped = result.index - last - 1  # frames of a live source are counted where they are left out
            yield replace(result, dropped=dropped) if dropped > 0 else result
            last = result.index
