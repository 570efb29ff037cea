"""What the sources share that FFmpeg decodes: files and network streams."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import av
import av.error
from av.packet import Packet
from av.video.frame import PictureType
from av.video.stream import VideoStream

from arseg_edge.errors import CodecError, SourceError
from arseg_edge.runtime.motion.vectors import VECTOR_CODECS
from arseg_edge.runtime.source.backlog import Waited
from arseg_edge.runtime.source.base import Source
from arseg_edge.runtime.source.clock import Clock, StreamTimes, rescaled
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.pictures import Pictures
from arseg_edge.runtime.source.reference_order import Coded, CodedOrder
from arseg_edge.runtime.source.track import Track

log = logging.getLogger(__name__)

_LEADING: Final = 32
"""Packets behind a random-access point among which B-frames can be that are shown before it."""

_ARRIVAL_TIME_BASE: Final = Fraction(1, 90_000)


class DecodedSource(Source):
    """What all sources share that FFmpeg decodes; they differ in where ``_packets`` come from."""

    _track: Track
    _clock: Clock

    def __init__(self, name: str) -> None:
        self.name = name
        self._coded = CodedOrder(None, None, None)
        self._pictures = Pictures(self.incidents)
        self._broken = False
        """Something was lost since the last frame."""
        self._late = False
        """Pictures are left out, for now."""
        self._dropped = self._skipped = 0
        """Pictures left out since the last frame; packets left out that are not counted among them yet."""
        self._resumed: int | None = None
        """The packet at which decoding went on after that, while its picture has not come out."""

    def _start(self, track: Track) -> None:
        """Take over what a track says of itself."""
        # Not known where the stream was joined between two keyframes.
        self.width, self.height = track.decoder.width or None, track.decoder.height or None
        self.frame_rate = track.frame_rate
        self.time_base = track.time_base
        self.frame_count = track.frame_count
        by_arrival = self.live and not track.timed
        if by_arrival:
            self.frame_rate, self.time_base = None, _ARRIVAL_TIME_BASE
        self._clock = Clock(
            *(self.name, self.time_base, self.frame_rate, self.incidents),
            jumps=track.jumps,
            live=self.live,
            by_arrival=by_arrival,
        )
        self._follow(track)

    def _follow(self, track: Track) -> None:
        """Read on from a track, the first or a later one."""
        self._end_coded()
        self._track, self.codec = track, track.decoder.name
        self._times = StreamTimes(reordered=track.reordered)
        older = self.codec in VECTOR_CODECS and self.codec != "h264"  # such codecs know but one reference
        self._coded = CodedOrder(self.codec, track.decoder.extradata, 1 if older else None)
        self._pictures.begin(self.codec)
        if self._coded.references is not None:
            self.references = max(self.references or 0, self._coded.references)

    def _end_coded(self) -> None:
        """Nothing more comes from the decoder."""
        self.incidents.note("missing", self._coded.end())
        self.incidents.note("damaged", self._coded.damaged(ended=True))

    def frames(self) -> Iterator[DecodedFrame]:  # noqa: D102 - as in the base class
        return self._clock.steady(self._decoded())

    def _decoded(self) -> Iterator[DecodedFrame]:
        """All frames with the stream's own times."""
        index, refused = 0, False
        for packet in self._packets():
            coded = None
            if packet is not None:
                packet.opaque = coded = self._coded.take(packet)
                self.incidents.note("missing", coded.missing)
                self.incidents.note("hidden", self._coded.hidden())
                self.incidents.note("damaged", self._coded.damaged())
                if coded.references is not None:
                    self.references = max(self.references or 0, coded.references)
            try:
                pictures = self._track.decoder.decode(packet)
            except av.error.FFmpegError as error:
                log.warning("%s: undecodable data after %d frames (%s)", self.name, index, error.strerror)
                refused = True
                if coded is not None:
                    self._coded.fail(coded)
                continue
            index += self._skipped
            self._dropped, self._skipped = self._dropped + self._skipped, 0
            for picture in pictures:
                if self._is_wanted(picture):
                    yield self._frame(picture, index)
                index += 1
        self._end_coded()
        if index == 0 and (refused or self._broken):
            raise CodecError(
                f"{self.name}: none of its {self.codec} packets could be decoded; "
                "it is damaged or of an unsupported kind: give another copy or convert it"
            )
        if index == 0:
            raise SourceError(f"{self.name}: no frames in it; check that the file is complete")

    def _take(self, waited: Waited) -> None:
        """Prepare for a packet of a live source."""
        self._late = waited.late
        if waited.skipped:
            self._skipped += waited.skipped
            self._coded.skip()
            self._resumed = self._coded.next_number
            if not waited.packet.is_keyframe:
                # H.264's decoder would make up pictures for the gap, and keep others back for them. What it still holds
                # goes with the rest.
                self._skipped += self._coded.end()
                self._track.decoder.flush_buffers()

    def _is_wanted(self, picture: av.VideoFrame) -> bool:
        """Whether a picture becomes a frame, or is left out since reading fell behind."""
        coded = picture.opaque if isinstance(picture.opaque, Coded) else None
        early = False
        if self._resumed is not None and coded is not None:
            # B-frames shown before a random-access point are predicted from what was left out, too.
            led = PictureType(picture.pict_type) in (PictureType.B, PictureType.BI)
            early = coded.number < self._resumed or (led and coded.number < self._resumed + _LEADING)
            if not early:
                self._resumed, self._broken = None, True
        if not early and not self._late:
            return True
        if coded is not None:
            self.incidents.note("missing", self._coded.came(coded, concealed=False))
        self._dropped, self._broken = self._dropped + 1, True
        self._pictures.skip()
        return False

    @abstractmethod
    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        """All packets of the stream, then None, which flushes the decoder."""

    def _checked(self, packet: Packet[VideoStream]) -> Packet[VideoStream]:
        if packet.has_sidedata("encryption_info"):
            raise CodecError(f"{self.name}: encrypted; give a copy without protection")
        return packet

    def _frame(self, picture: av.VideoFrame, index: int) -> DecodedFrame:
        # What a demuxer makes up where a stream has no times is not the stream's.
        own = rescaled(self._times.of(picture), picture.time_base, self.time_base) if self._track.timed else None
        coded = picture.opaque if isinstance(picture.opaque, Coded) else None
        if coded is not None:
            self.incidents.note("missing", self._coded.came(coded, concealed=picture.is_corrupt))
        broken, self._broken = self._broken, False
        dropped, self._dropped = self._dropped, 0
        return self._pictures.frame(
            picture,
            index,
            own,
            self.time_base,
            coded=coded,
            # A P-frame of H.264 can refer to later frames where the stream has B-frames. In older codecs it cannot,
            # and MPEG-2 announces a reordering delay even without any B-frame.
            delayed=self.codec == "h264" and bool(self._track.decoder.has_b_frames),
            discontinuity=broken,
            dropped=dropped,
            arrived=coded.arrived if self.live and coded is not None else None,
            sample_aspect_ratio=self._track.pixel_shape(),
            decoder=self._track.decoder,
        )
