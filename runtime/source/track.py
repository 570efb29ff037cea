"""The video stream of an opened container: which one is used, and what it says about itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from arseg_edge.errors import CodecError, SourceError
from arseg_edge.runtime.source.base import NOMINAL_RATE

_PLAYLISTS: Final = frozenset({"hls", "dash"})
"""Formats of which only the list of what there is has a size."""

_NO_TIMESTAMPS: Final = 0x80
"""``AVFMT_NOTIMESTAMPS`` of libavformat."""

_TIMES_JUMP: Final = 0x200
"""``AVFMT_TS_DISCONT``."""


@dataclass(frozen=True)
class Track:
    """What is known of a video stream before anything of it is decoded."""

    stream: VideoStream
    decoder: VideoCodecContext
    """Set up for motion vectors. With slice threads only: frame threads lose vectors where there are B-frames."""
    frame_rate: Fraction | None
    time_base: Fraction
    frame_count: int | None
    bounded: bool
    """It says how long or how large it is; a camera does not."""
    segmented: bool
    """It comes in segments, each of many pictures at a time."""
    timed: bool
    """It has times of its own; elementary streams have none, and the demuxer's are invented."""
    reordered: bool
    """Its container tells when packets are decoded, not when they are shown (AVI); libavformat's guess of that is
    wrong where there are B-frames."""
    jumps: bool
    """In its kind of container times jump where recordings were joined."""
    container_shape: Fraction | None
    """A pixel's width over its height as the container has it, or else the decoder at the start."""
    first_shape: Fraction | None
    """A pixel's width over its height as the decoder had it at the start."""

    def pixel_shape(self) -> Fraction | None:
        """A pixel's width over its height; None where nothing says it.

        The container's word goes before the stream's, as in ffmpeg, until the stream changes its own.
        """
        now = self.decoder.sample_aspect_ratio or None
        if now is not None and now != self.first_shape:
            return now
        return self.container_shape or now


def video_track(container: InputContainer, name: str) -> Track:
    """Choose the best video stream.

    Raises:
        SourceError: there is none.
        CodecError: nothing here decodes it.
    """
    stream = container.streams.best("video")
    if stream is None and container.streams.video:
        stream = container.streams.video[0]  # the best one is chosen among those with a decoder
    if not isinstance(stream, VideoStream):
        raise SourceError(f"{name}: no video stream in it; give a source that has one")
    decoder = stream.codec_context
    if decoder is None:
        raise CodecError(
            f"{name}: no decoder for its video stream; "
            "convert it first (ffmpeg -i IN -c:v libx264 -bf 0 -refs 1 OUT.mp4)"
        )
    decoder.thread_type = "SLICE"
    # Damaged pictures come out, too, and say so.
    decoder.options = {"flags": "+output_corrupt", "flags2": "+export_mvs"}
    decoder.copy_opaque = True
    timed = not container.format.flags & _NO_TIMESTAMPS
    reordered = container.format.name == "avi"
    # The average is measured, except where nothing tells times: there it is the header's, or the demuxer's default.
    rates = (stream.average_rate, stream.guessed_rate)
    rate = rates[0] or rates[1] if timed and not reordered else rates[1] or rates[0]
    time_base = stream.time_base or 1 / NOMINAL_RATE
    return Track(
        stream=stream,
        decoder=decoder,
        frame_rate=rate,
        time_base=time_base,
        frame_count=stream.frames or _estimate(container, stream, rate, time_base),
        bounded=container.duration is not None or (container.size > 0 and container.format.name not in _PLAYLISTS),
        segmented=container.format.name in _PLAYLISTS,
        timed=timed,
        # A stream is not to be asked when its container may be closed.
        container_shape=stream.sample_aspect_ratio or None,
        first_shape=decoder.sample_aspect_ratio or None,
        reordered=reordered,
        jumps=bool(container.format.flags & _TIMES_JUMP),
    )


def read_packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """The packets of a stream, from where the container stands to its end.

    Raises:
        FFmpegError: what FFmpeg says; reading can go on behind it by calling this again.
    """
    # PyAV stumbles at the end where another stream turned up on the way.
    with contextlib.suppress(IndexError):
        for packet in container.demux(stream):
            if packet.size:
                yield packet


def _estimate(container: InputContainer, stream: VideoStream, rate: Fraction | None, time_base: Fraction) -> int | None:
    if rate is None:
        return None
    if stream.duration is not None:
        return round(stream.duration * time_base * rate)
    if container.duration is not None:
        return round(Fraction(container.duration, av.time_base) * rate)
    return None
