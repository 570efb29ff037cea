"""The frames with the class colours laid over them, as a video."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from av.video.stream import VideoStream

from arseg_edge.errors import CodecError, OutputError, UsageError
from arseg_edge.runtime.sinks.blend import Blend
from arseg_edge.runtime.sinks.file_sink import FileSink
from arseg_edge.runtime.sinks.palette import Palette
from arseg_edge.runtime.sinks.pending import PendingPath
from arseg_edge.runtime.sinks.sink import ResultLike
from arseg_edge.runtime.source.colour import encoded_as, to_yuv420p

_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
H264_ENCODERS = {  # in the order of preference, with their options
    # Without delay, so that what a frame became is in the file before the next one is made.
    "libx264": {"preset": "superfast", "crf": "22", "tune": "zerolatency"},
    "libopenh264": {"rc_mode": "quality"},
}
# A fragment, or a cluster, for every frame: the file can be read while it grows. In the end MP4 is a plain one.
_FRAGMENTED = {"movflags": "+hybrid_fragmented+frag_every_frame+delay_moov", "flush_packets": "1"}
_CLUSTERED = {"cluster_time_limit": "0", "flush_packets": "1"}
_FINEST = 1_000_000  # units a second; a file with more could hold no pauses of minutes
_LONGEST = 2**31 - 2  # units that a frame may last in MP4, by FFmpeg's muxer


class OverlaySink(FileSink):
    """Writes an H.264 video (yuv420p, no sound) with the times of the results, from 0 on.

    In MP4 and MOV times are exact, variable frame rates and 30000/1001 included, down to a microsecond; Matroska
    rounds to milliseconds. Where a frame lasts longer than 32 bits can tell (at microseconds, 35 minutes), it is
    written again in between. Chroma has half the resolution, so an odd width or height is padded to the next even one
    by repeating the last column or row. When the picture size changes, later pictures are scaled to the first
    one's. Without a single frame no file is written.

    Primaries, transfer, matrix, range and the pixels' shape are the source's, and unsaid where it does not say them;
    of RGB, and of tone-mapped PQ and HLG, BT.709.

    Args:
        path: the video; the suffix (.mp4, .m4v, .mov, .mkv) says which container.
        palette: RGB colour of each class, uint8 [classes, 3] or rows of three integers.
        frame_rate: nominal frames per second, for the header; timing comes from the results' ``pts``.
        opacity: of the class colours, from 0 (only the frame) to 1 (only the colours).

    Raises:
        CodecError: this PyAV has no H.264 encoder.
        OutputError: the file cannot be written.
        UsageError: palette, opacity or suffix make no sense.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        palette: Palette,
        frame_rate: Fraction | None = None,
        opacity: float = 0.5,
    ) -> None:
        self._blend = Blend(palette, opacity)
        suffix = Path(path).suffix.lower()
        if suffix not in _CONTAINERS:
            raise UsageError(f"{os.fspath(path)!r} does not end as a video; use {', '.join(_CONTAINERS)}")
        self._format = _CONTAINERS[suffix]
        self._frame_rate = frame_rate
        self._encoder = _first_encoder()
        self._pending = PendingPath(path, state=_state_of)
        self._container: OutputContainer | None = None
        self._last: av.VideoFrame | None = None
        self._last_time: Fraction | None = None
        super().__init__(self._pending)

    def _write(self, result: ResultLike) -> None:
        with self._codec_errors():
            if self._container is None:
                self._start = result.pts * result.time_base
                self._colour = encoded_as(result.colour)
                self._container, self._stream = self._open(result)
            size = self._stream.height, self._stream.width
            blend = self._blend(result.rgb, result.labels)
            frame = to_yuv420p(_padded_to_even(blend), size, self._colour)
            frame.time_base = self._time_base
            frame.pts = self._pts(result)
            self._bridge(frame.pts)
            self._container.mux(self._stream.encode(frame))
            self._last = frame
        self._pending.written()

    def _pts(self, result: ResultLike) -> int:
        time = result.pts * result.time_base
        if self._last_time is not None and time <= self._last_time:
            raise OutputError(
                f"cannot write {self._pending.name!r}: a frame at {float(time):g} s follows one at "
                f"{float(self._last_time):g} s; give the results of one stream, in their order"
            )
        self._last_time = time
        pts = round((time - self._start) / self._time_base)
        # Two frames can lie within one unit.
        return pts if self._last is None or self._last.pts is None else max(pts, self._last.pts + 1)

    def _bridge(self, pts: int) -> None:
        """Show the last frame again until ``pts`` is near enough to be written."""
        if self._format == "matroska":  # holds when a frame begins, not how long it lasts
            return
        while self._container is not None and self._last is not None and self._last.pts is not None:
            if pts - self._last.pts <= _LONGEST:
                return
            self._last.pts += _LONGEST
            self._container.mux(self._stream.encode(self._last))

    def _finish(self, *, keep: bool) -> bool:
        if self._container is None:
            return False
        with self._codec_errors(), self._container:
            if keep:
                self._container.mux(self._stream.encode())
        return keep

    def _open(self, first: ResultLike) -> tuple[OutputContainer, VideoStream]:
        self._time_base = first.time_base if first.time_base.denominator <= _FINEST else Fraction(1, _FINEST)
        options = dict(_CLUSTERED)
        if self._format != "matroska":
            # The muxer's own choice of units would round the start to milliseconds.
            units = str(self._time_base.denominator)
            options = {**_FRAGMENTED, "video_track_timescale": units, "movie_timescale": units}
        container = av.open(str(self._pending.temporary), "w", format=self._format, options=options)
        stream = cast(
            VideoStream,
            container.add_stream(self._encoder, rate=self._frame_rate, options=H264_ENCODERS[self._encoder]),
        )
        height, width = first.labels.shape
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = self._time_base
        codec = stream.codec_context
        codec.time_base = self._time_base
        codec.color_primaries, codec.color_trc = self._colour.primaries, self._colour.transfer
        codec.colorspace = self._colour.matrix
        codec.color_range = 2 if self._colour.full_range else 1  # AVColorRange
        if first.sample_aspect_ratio is not None:
            codec.sample_aspect_ratio = first.sample_aspect_ratio
        return container, stream

    @contextlib.contextmanager
    def _codec_errors(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            raise self._pending.failure(error) from error


def _first_encoder() -> str:
    for name in H264_ENCODERS:
        if name in av.codecs_available:
            return name
    raise CodecError(f"PyAV has no H.264 encoder here (none of {', '.join(H264_ENCODERS)}); install it from PyPI")


def _state_of(path: Path) -> str:
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    try:
        with av.open(str(path)) as container:
            next(container.decode(video=0))
    except (av.FFmpegError, StopIteration, IndexError):
        return f"{size}, no video that can be played"
    return f"{size}, can be played"


def _padded_to_even(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    if height % 2 == width % 2 == 0:
        return rgb
    padded = cv2.copyMakeBorder(rgb, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return np.asarray(padded, np.uint8)
