"""The results of one source, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol

from arseg_edge.results import Result
from arseg_edge.runtime.pipeline import ReadyFrame


class ReadyFrames(Protocol):
    """Frames for inference that can be broken off."""

    def __next__(self) -> ReadyFrame:
        """Return the next; raise StopIteration after the last."""

    def close(self) -> None:
        """Let go of the source."""


class ResultStream(Iterator[Result]):
    """An iterator over results that closes its source at the end, when closed, and when dropped.

    Also a context manager, for those who leave early.
    """

    def __init__(self, frames: ReadyFrames, run: Callable[[ReadyFrame], Result], finish: Callable[[], None]) -> None:
        self._frames = frames
        self._run = run
        self._finish = finish
        self._closed = False

    def __next__(self) -> Result:
        if self._closed:
            raise StopIteration
        try:
            return self._run(next(self._frames))
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
        self.close()
