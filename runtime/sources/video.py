"""A video file or URL, decoded by FFmpeg with its motion vectors.

Decoded with slice threads only: frame threads lose vectors where a stream has B-frames.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction

import av
import av.error
from av.video.frame import PictureType
from av.video.stream import VideoStream

from arseg_edge.errors import CodecError, SequenceError, SourceError
from arseg_edge.runtime.decoded_frame import DecodedFrame
from arseg_edge.runtime.motion.vectors import VECTOR_CODECS, VectorRecords
from arseg_edge.runtime.sources.base import Clock, Source

log = logging.getLogger(__name__)


class VideoSource(Source):
    """The best video stream of a file or URL."""

    def __init__(self, location: str) -> None:
        self.name = location
        self._closed = False
        try:
            self._container = av.open(location)
        except av.error.InvalidDataError:
            raise SourceError(f"{location}: not a video; give one that FFmpeg can open") from None
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(f"{location}: cannot be opened ({error.strerror}); check it and try again") from None
        try:
            self._stream = self._video_stream()
        except BaseException:
            self._container.close()
            raise
        decoder = self._stream.codec_context
        decoder.thread_type = "SLICE"
        decoder.options = {"flags2": "+export_mvs"}
        self.codec = decoder.name
        self.width, self.height = decoder.width, decoder.height
        self.frame_rate = self._stream.average_rate or self._stream.guessed_rate
        self.time_base = self._stream.time_base or self.time_base
        self.frame_count = self._stream.frames or self._estimate()

    def _estimate(self) -> int | None:
        if self.frame_rate is None:
            return None
        if self._stream.duration is not None:
            return round(self._stream.duration * self.time_base * self.frame_rate)
        if self._container.duration is not None:
            return round(Fraction(self._container.duration, av.time_base) * self.frame_rate)
        return None

    def _video_stream(self) -> VideoStream:
        stream = self._container.streams.best("video")
        if stream is None and self._container.streams.video:
            stream = self._container.streams.video[0]  # the best one is chosen among those with a decoder
        if not isinstance(stream, VideoStream):
            raise SourceError(f"{self.name}: no video stream in it; give a file that has one")
        if stream.codec_context is None:
            raise CodecError(
                f"{self.name}: no decoder for its video stream; "
                "convert it first (ffmpeg -i IN -c:v libx264 -bf 0 -refs 1 OUT.mp4)"
            )
        return stream

    def frames(self) -> Iterator[DecodedFrame]:  # noqa: D102 - as in the base class
        clock = Clock(self.time_base, self.frame_rate)
        index = 0
        broken = False
        for packet in self._packets():
            try:
                pictures = self._stream.codec_context.decode(packet)
            except av.error.FFmpegError as error:
                log.warning("%s: undecodable data after %d frames (%s)", self.name, index, error.strerror)
                broken = True
                continue
            for picture in pictures:
                yield self._frame(picture, index, clock.stamp(picture.pts), broken)
                index += 1
                broken = False
        if index == 0 and broken:
            raise CodecError(
                f"{self.name}: none of its {self.codec} packets could be decoded; "
                "it is damaged or of an unsupported kind: give another copy or convert it"
            )
        if index == 0:
            raise SourceError(f"{self.name}: no frames in it; check that the file is complete")

    def _packets(self) -> Iterator[av.Packet[VideoStream] | None]:
        """All packets of the stream, then None, which flushes the decoder."""
        self._check_open()
        try:
            for packet in self._container.demux(self._stream):
                if packet.has_sidedata("encryption_info"):
                    raise CodecError(f"{self.name}: encrypted; give a copy without protection")
                if packet.size:
                    yield packet
                self._check_open()
        except av.error.InvalidDataError as error:
            log.warning("%s: breaks off (%s)", self.name, error.strerror)
        except av.error.FFmpegError as error:
            reason = error.strerror or type(error).__name__
            raise SourceError(f"{self.name}: reading failed ({reason}); is it still there?") from None
        yield None

    def _check_open(self) -> None:
        # PyAV itself would go on reading from memory that is no longer its own.
        if self._closed:
            raise SequenceError(f"{self.name}: the source was closed; open it again to read on")

    def _frame(self, picture: av.VideoFrame, index: int, pts: int, broken: bool) -> DecodedFrame:
        kind = PictureType(picture.pict_type)
        vectors = self._vectors(picture)
        reordered = (
            kind in (PictureType.B, PictureType.BI)
            # A P-frame of H.264 can refer to later frames where the stream has B-frames. In older codecs it
            # cannot, and MPEG-2 announces a reordering delay even without any B-frame.
            or (self.codec == "h264" and self._stream.codec_context.has_b_frames)
            or (vectors is not None and bool((vectors["source"] > 0).any()))
        )
        return DecodedFrame(
            index=index,
            pts=pts,
            time_base=self.time_base,
            picture=picture,
            picture_type="?" if kind is PictureType.NONE else kind.name,
            vectors=vectors,
            reordered=reordered,
            discontinuity=broken,
            corrupt=picture.is_corrupt,
        )

    def _vectors(self, picture: av.VideoFrame) -> VectorRecords | None:
        # In interlaced pictures vectors can refer to fields, which the records do not tell.
        if self.codec not in VECTOR_CODECS or picture.interlaced_frame:
            return None
        vectors = picture.side_data.get("MOTION_VECTORS")
        return None if vectors is None else vectors.to_ndarray()

    def close(self) -> None:  # noqa: D102 - as in the base class
        self._closed = True
        self._container.close()
