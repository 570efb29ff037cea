"""A video file, decoded by FFmpeg with its motion vectors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import av
import av.error
from av.packet import Packet
from av.video.stream import VideoStream

from arseg_edge.errors import ArsegError, SequenceError, SourceError
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.decoded_source import DecodedSource
from arseg_edge.runtime.source.track import read_packets, video_track

log = logging.getLogger(__name__)

LONGEST_GAP: Final = 100
"""Failures to read a packet, one right after the other, after which a damaged file is given up."""


class VideoSource(DecodedSource):
    """The best video stream of a file."""

    at_hand = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.files = (path,)
        self._closed = False
        try:
            self._container = av.open(f"file:{self.name}", metadata_errors="replace")
        except av.error.InvalidDataError:
            raise SourceError(f"{self.name}: not a video; give one that FFmpeg can open") from None
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(f"{self.name}: cannot be opened ({error.strerror}); check it and try again") from None
        try:
            self._start(video_track(self._container, self.name))
        except BaseException:
            self._container.close()
            raise
        # How a picture lies, and what the decoder leaves of it, is known when the first one is there.
        self._ahead: Iterator[DecodedFrame] | None = self._decoded()
        self._first: DecodedFrame | None = None
        self._failure: ArsegError | None = None
        try:
            self._first = next(self._ahead)
            self.width, self.height = self._first.width, self._first.height
        except ArsegError as error:
            self._failure = error  # for whoever wants frames

    def frames(self) -> Iterator[DecodedFrame]:  # noqa: D102 - as in the base class
        self._check_open()
        if self._failure is not None:
            raise self._failure
        yield from self._clock.steady(self._from_first())

    def _from_first(self) -> Iterator[DecodedFrame]:
        first, self._first = self._first, None
        ahead, self._ahead = self._ahead, None
        if first is not None:
            yield first
        yield from ahead or self._decoded()  # again, for a caller who left early and comes back

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        failures = 0
        loss: SourceError | None = None
        while loss is None:
            self._check_open()
            try:
                for packet in read_packets(self._container, self._track.stream):
                    failures = 0
                    yield self._checked(packet)
                    self._check_open()
                break
            except av.error.InvalidDataError as error:
                failures += 1
                if failures == 1:
                    log.warning("%s: damaged (%s); reading on behind it", self.name, error.strerror)
                self._broken = True
                if failures == LONGEST_GAP:
                    loss = SourceError(
                        f"{self.name}: damaged, and nothing could be read in {failures} attempts behind that; "
                        "repair it, or give another copy"
                    )
            except av.error.FFmpegError as error:
                reason = error.strerror or type(error).__name__
                loss = SourceError(f"{self.name}: reading failed ({reason}); is it still there?")
        yield None  # what the decoder holds back comes out first
        if loss is not None:
            raise loss

    def _check_open(self) -> None:
        # PyAV itself would go on reading from memory that is no longer its own.
        if self._closed:
            raise SequenceError(f"{self.name}: the source was closed; open it again to read on")

    def close(self) -> None:  # noqa: D102 - as in the base class
        self._closed = True
        self._container.close()
