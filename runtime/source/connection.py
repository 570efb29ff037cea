"""Reading packets on a thread of its own.

FFmpeg cannot be told from outside to give up waiting for data, and a container must not be closed while it is
read. So the thread that waits owns the container, and closes it when FFmpeg returns; whoever wants its packets
waits as long as it likes.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Final

import av
from av.container import InputContainer

from arseg_edge.errors import SourceError
from arseg_edge.runtime.source.backlog import Backlog, Waited
from arseg_edge.runtime.source.track import Track, read_packets, video_track

READ_AHEAD: Final = 256
"""Packets that wait to be decoded; with so many, reading waits too, unless the source is live."""

ANALYSIS: Final = 2.0
"""Seconds of the stream that FFmpeg may look at to find out what it is."""


_MOMENT: Final = 0.3
"""Seconds in which a source that works brings a packet."""


class Interrupted(Exception):  # noqa: N818 - not an error
    """Nobody wants what was waited for."""


class Connection:
    """One attempt at a source, from opening to its end."""

    def __init__(
        self,
        location: str,
        name: str,
        *,
        format: str | None,
        options: dict[str, str],
        timeout: float | None,
        watched: bool,
        interrupted: threading.Event,
        silent: bool = False,
    ) -> None:
        """Begin to open it.

        ``interrupted``: while it is set, nobody waits for anything (``wake`` after setting it).
        ``silent``: FFmpeg opens it though nobody may be there, so that only a packet proves the contrary.
        """
        self._location, self._name = location, name
        self._format, self._options, self._timeout, self._watched = format, options, timeout, watched
        self._silent = silent
        self._changed = threading.Condition()
        self._interrupted = interrupted
        self._waiting = Backlog()
        self._track: Track | None = None
        self._error: BaseException | None = None
        self._ended = self._abandoned = False
        # A daemon: reading from a pipe cannot be interrupted by anything but data.
        self._thread = threading.Thread(target=self._run, name="arseg-edge reading", daemon=True)
        self._thread.start()
        _running.add(self)

    def track(self) -> Track:
        """Wait for the source to open.

        Raises:
            SourceError: no answer in time.
            CodecError: nothing here decodes it.
            Interrupted: nobody waits any more.
            FFmpegError, OSError: what FFmpeg says.
        """
        with self._changed:
            # It may take as long to be reached, and then as long to be understood.
            patience = None if self._timeout is None else self._timeout + ANALYSIS
            self._wait(
                lambda: self._track is not None and (bool(self._waiting) or not self._silent), patience, "no answer"
            )
            if self._track is None or (self._silent and not self._waiting):
                raise self._error or SourceError(f"{self._name}: no video stream in it; give a source that has one")
            return self._track

    def packets(self, *, live: bool) -> Iterator[Waited]:
        """All packets until the stream ends, those of a ``live`` one without what is left out (``backlog.py``).

        The ``opaque`` of each is the time when it came in.

        Raises:
            SourceError: nothing came for too long.
            Interrupted: nobody waits any more.
            FFmpegError, OSError: what FFmpeg says.
        """
        with self._changed:
            self._waiting.live = live
            self._changed.notify_all()
        while True:
            with self._changed:
                self._wait(lambda: bool(self._waiting), self._timeout, "no data")
                if not self._waiting:
                    if self._error is not None:
                        raise self._error
                    return
                waited = self._waiting.take(time.monotonic())
                self._changed.notify_all()
            yield waited

    def wake(self) -> None:
        """End the waiting of others, after setting ``interrupted``. Any thread may call it."""
        with self._changed:
            self._changed.notify_all()

    def abandon(self) -> None:
        """End all waiting; the thread closes the container as soon as FFmpeg returns. Any thread may call it."""
        with self._changed:
            self._abandoned = True
            self._waiting.clear()
            self._changed.notify_all()

    def join(self) -> None:
        """Give the thread a moment to end, as it does unless the source stalls."""
        if self._thread is not threading.current_thread():  # which may be collecting garbage
            self._thread.join(_MOMENT)

    def join_at_exit(self) -> None:
        """Wait until the thread can no longer meet an interpreter that is being taken down."""
        self.abandon()
        self._thread.join(2 * self._timeout if self._watched and self._timeout is not None else _MOMENT)

    def _wait(self, ready: Callable[[], bool], timeout: float | None, lack: str) -> None:
        def unwanted() -> bool:
            return self._abandoned or self._interrupted.is_set()

        if not self._changed.wait_for(lambda: ready() or self._ended or unwanted(), timeout):
            raise SourceError(f"{self._name}: {lack} for {timeout:g} s; check the address, the sender and the network")
        if unwanted():
            raise Interrupted

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with av.open(
                self._location,
                format=self._format,
                options=self._options,
                # With this, FFmpeg asks Python all the time whether to go on, which kills the process when Python is
                # no longer there. So it is only for protocols that can wait for ever in spite of their own time-outs.
                timeout=(self._timeout, self._timeout) if self._watched and self._timeout is not None else None,
                metadata_errors="replace",
            ) as container:
                self._read(container)
        except BaseException as caught:
            error = caught
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def _read(self, container: InputContainer) -> None:
        track = video_track(container, self._name)
        with self._changed:
            self._track = track
            self._changed.notify_all()
        for packet in read_packets(container, track.stream):
            packet.opaque = time.monotonic()
            with self._changed:
                self._changed.wait_for(lambda: self._waiting.live or len(self._waiting) < READ_AHEAD or self._abandoned)
                if self._abandoned:
                    return
                self._waiting.put(packet)
                self._changed.notify_all()


_running: weakref.WeakSet[Connection] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    for connection in list(_running):
        connection.join_at_exit()
