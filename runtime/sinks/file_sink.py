"""What all sinks that write files share: whole or not at all."""

from __future__ import annotations

import contextlib
import threading
import weakref
from abc import abstractmethod
from types import TracebackType

from arseg_edge import at_stop
from arseg_edge.errors import OutputError, SequenceError
from arseg_edge.runtime.sinks.pending import Output
from arseg_edge.runtime.sinks.sink import ResultLike, Sink


class FileSink(Sink):
    """A sink whose file, or directory, gets its name only when it is whole.

    Leaving the ``with`` block keeps what was written if all went well or on Ctrl-C (the frames so far are
    a proper file); after any other exception nothing is left, and a former file is untouched. Any thread may
    close a sink, also while another one appends to it.

    Subclasses write in ``_write`` and release what they hold in ``_finish``. An ``OSError`` from either
    becomes an ``OutputError``.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._closed = False
        self._lock = threading.RLock()
        _open.add(self)

    @abstractmethod
    def _write(self, result: ResultLike) -> None:
        """Write one result."""

    def _finish(self, *, keep: bool) -> bool:
        """Release everything held; with ``keep``, complete the output and return whether there is any."""
        return keep

    def append(self, result: ResultLike) -> None:
        """Write one result.

        Raises:
            OutputError: it cannot be written, as on a full disk.
            SequenceError: the sink is closed.
        """
        with self._lock:
            if self._closed:
                raise SequenceError(f"the sink of {self._output.name!r} is closed; open a new one")
            with self._output.errors():
                self._write(result)

    def close(self) -> None:
        """Complete the output and give it its name. A second call does nothing.

        Raises:
            OutputError: it cannot be completed; nothing is left behind then.
        """
        self._end(keep=True)

    def discard(self) -> None:
        """Throw away what was written. A second call, or one after ``close``, does nothing."""
        self._end(keep=False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close after success and on Ctrl-C, discard otherwise."""
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.close()
        else:
            self.discard()

    def _end(self, *, keep: bool) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            _open.discard(self)
            whole = False
            try:
                with self._output.errors():
                    whole = self._finish(keep=keep)
            except OutputError:
                if keep:  # else the error that led here says more
                    raise
            finally:
                if not whole:
                    self._output.discard()
            if whole:
                self._output.commit()


_open: weakref.WeakSet[FileSink] = weakref.WeakSet()


def _close_all() -> None:
    """Keep what was written so far, of all sinks: the process is about to be stopped."""
    for sink in list(_open):
        with contextlib.suppress(OutputError):
            sink.close()


at_stop.always(_close_all)
