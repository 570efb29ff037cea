"""What comes over a network, from a camera or through a pipe: it can stall, end, and come back."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import av
import av.error
from av.packet import Packet
from av.video.stream import VideoStream

from arseg_edge.errors import CodecError, SequenceError, SourceError
from arseg_edge.runtime.source.backlog import Waited
from arseg_edge.runtime.source.connection import ANALYSIS, Connection, Interrupted
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.decoded_source import DecodedSource
from arseg_edge.runtime.source.location import STANDARD_INPUT, for_ffmpeg, local_path, protocol, shown
from arseg_edge.runtime.source.track import Track

log = logging.getLogger(__name__)

TIMEOUT: Final = 5.0
"""Seconds without an answer, or without data, after which a source counts as lost. Whoever writes into a pipe may take
as long as it needs."""

PAUSES: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each attempt to find a lost source again; after the last one it is given up."""

_ALWAYS_LIVE: Final = frozenset({"rtsp", "rtsps", "rtp", "srtp", "udp", "rtmp", "rtmps", "srt", "device", "sdp"})
_OPTIONS: Final = {
    # A packet lost breaks the chain of motion, and TCP loses none.
    "rtsp": {"rtsp_flags": "prefer_tcp"},
    "rtsps": {"rtsp_flags": "prefer_tcp"},
    # A burst that does not fit is a gap in the stream, not its end.
    "udp": {"overrun_nonfatal": "1", "fifo_size": "50000"},
    # What the description names is not allowed unless it is asked for.
    "sdp": {"protocol_whitelist": "file,crypto,data,rtp,srtp,udp,tcp,tls"},
}
_TIMEOUT_OPTIONS: Final = {"rtsp": "timeout", "rtsps": "timeout", "udp": "timeout"}
"""What FFmpeg calls its own time-out; ``rw_timeout`` with all other protocols."""

_TIMES_UP: Final = (av.error.ExitError, av.error.TimeoutError, av.error.InvalidDataError, av.error.OSError)


class NetworkSource(DecodedSource):
    """A URL, a capture device, a session description (``.sdp``), a pipe, or standard input.

    A live one that is lost is looked for again, after growing pauses. The first frame of what is found is marked
    as a discontinuity; its timestamp follows on the last one by the time that passed. Of a live one that is read too
    slowly, frames are left out (``backlog.py``).
    """

    def __init__(self, location: str, *, timeout: float | None = None, pauses: tuple[float, ...] = PAUSES) -> None:
        super().__init__(shown(location))
        path = Path("/dev/stdin") if location == STANDARD_INPUT else local_path(location)
        self.files = () if path is None else (path,)
        self._location, self._pauses = location, pauses
        self._scheme = protocol(location)
        self._timeout = TIMEOUT if timeout is None and self._scheme != "pipe" else timeout
        self._interrupted = threading.Event()
        self._closed = False
        self._loss: str | None = None
        """Why it is to be looked for again."""
        self._came = time.monotonic()
        """When the last packet did."""
        self._connection = self._connect()
        try:
            track = self._track_of(self._connection)
        except Interrupted:
            raise SourceError(f"{self.name}: interrupted while it was opened") from None
        except BaseException:
            self._connection.abandon()
            raise
        self._bounded = track.bounded
        self.live = self._scheme in _ALWAYS_LIVE or (self._scheme != "pipe" and not track.bounded)
        self._start(track)

    def _connect(self) -> Connection:
        options = {"analyzeduration": str(round(ANALYSIS * 1e6)), **_OPTIONS.get(self._scheme, {})}
        if self._timeout is not None and self._scheme not in ("device", "pipe", "sdp"):
            options[_TIMEOUT_OPTIONS.get(self._scheme, "rw_timeout")] = str(round(self._timeout * 1e6))
        device = self._scheme == "device"
        return Connection(
            str(self.files[0]) if device else for_ffmpeg(self._location),
            self.name,
            format="v4l2" if device else None,
            options=options,
            timeout=self._timeout,
            # HLS asks for the next segment again and again, and a session waits for packets that nobody may send.
            watched=self._scheme in ("http", "https", "sdp"),
            interrupted=self._interrupted,
            silent=self._scheme == "sdp",
        )

    def _track_of(self, connection: Connection) -> Track:
        start = time.monotonic()
        try:
            return connection.track()
        except SourceError:
            raise
        except (av.error.FFmpegError, OSError) as error:
            raise self._opening_error(error, time.monotonic() - start) from None

    def _opening_error(self, error: Exception, seconds: float) -> SourceError:
        """What FFmpeg's error, after so many seconds, means to whoever gave the address."""
        # When it is told that time is up, it does not always say so.
        if self._timeout is not None and isinstance(error, _TIMES_UP) and seconds >= self._timeout * 0.9:
            return SourceError(f"{self.name}: no answer for {self._timeout:g} s; check the address and the network")
        if isinstance(error, av.error.InvalidDataError):
            return SourceError(f"{self.name}: not a video; give one that FFmpeg can open")
        if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
            return SourceError(
                f"{self.name}: login refused; put the right user and password into the address "
                f"({self._scheme}://USER:PASSWORD@HOST/...)"
            )
        if self._scheme == "device":
            return SourceError(
                f"{self.name}: cannot be opened as a camera ({_reason(error)}); "
                "check that it is one, that it may be read, and that nothing else uses it"
            )
        return SourceError(f"{self.name}: cannot be opened ({_reason(error)}); check it and try again")

    def frames(self) -> Iterator[DecodedFrame]:  # noqa: D102 - as in the base class
        with contextlib.suppress(Interrupted):
            yield from super().frames()

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        self._check_open()
        try:
            while True:
                if self._loss is not None:
                    self._reconnect()
                loss: SourceError | None = None
                try:
                    for waited in self._awaited():
                        self._came = time.monotonic()
                        self._take(waited)
                        yield self._checked(waited.packet)
                        self._check_open()
                except SourceError as error:
                    if isinstance(error, CodecError):
                        raise
                    loss = error
                except (av.error.FFmpegError, OSError) as error:
                    loss = SourceError(f"{self.name}: reading failed ({_reason(error)}); is it still there?")
                yield None  # what the decoder holds back comes out first
                if not self.live or (loss is None and self._bounded):
                    if loss is not None:
                        raise loss
                    return
                self._loss = "the sender ended it" if loss is None else self._without_name(loss)
        except Interrupted:
            self._check_open()
            raise

    def _awaited(self) -> Iterator[Waited]:
        """What comes through the connection, while ``waited`` counts how long that takes."""
        # A playlist's packets come by the segment, so that all wait but the first; and FFmpeg itself leaves out
        # segments that are no longer offered.
        packets = self._connection.packets(live=self.live and not self._track.segmented)
        while True:
            with self._waiting():
                waited = next(packets, None)
            if waited is None:
                return
            yield waited

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.waited += time.perf_counter() - start

    def _reconnect(self) -> None:
        """Find the source again.

        Raises:
            SourceError: not found.
            Interrupted: nobody wants it any more.
        """
        for attempt, pause in enumerate(self._pauses, 1):
            self._connection.abandon()
            log.warning(
                "%s: lost (%s); attempt %d of %d to reconnect in %g s",
                *(self.name, self._loss, attempt, len(self._pauses), pause),
            )
            try:
                with self._waiting():
                    if self._interrupted.wait(pause):
                        raise Interrupted
                    self._connection = self._connect()
                    track = self._track_of(self._connection)
            except CodecError:
                raise
            except SourceError as error:
                self._loss = self._without_name(error)
                continue
            self._follow(track)
            self._loss, self._broken = None, True
            self._clock.restart(time.monotonic() - self._came)
            self.reconnects += 1
            log.warning("%s: reconnected (%d times so far)", self.name, self.reconnects)
            return
        raise SourceError(f"{self.name}: lost, and not found again in {len(self._pauses)} attempts; is it still there?")

    def _without_name(self, error: SourceError) -> str:
        return str(error).removeprefix(f"{self.name}: ")

    def _check_open(self) -> None:
        if self._closed:
            raise SequenceError(f"{self.name}: the source was closed; open it again to read on")

    def interrupt(self) -> None:  # noqa: D102 - as in the base class
        self._interrupted.set()
        self._connection.wake()

    def resume(self) -> None:  # noqa: D102 - as in the base class
        if not self._closed:
            self._interrupted.clear()

    def let_go(self) -> None:  # noqa: D102 - as in the base class
        self._closed = True
        self.interrupt()
        self._connection.abandon()

    def close(self) -> None:  # noqa: D102 - as in the base class
        self.let_go()
        self._connection.join()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
