"""Frames into a real bitstream, so that training and evaluation see what a device decodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.codec
import av.error
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from av.video.reformatter import ColorRange

from arseg_edge.errors import ArsegError, CodecError, OutputError, UsageError

_BT601 = 6  # in ITU-T H.273 (SMPTE 170M), for primaries, transfer and matrix alike
# Every frame refers to the one before alone, as in the paper; one thread, since frames are encoded by many processes.
_PARAMETERS = {
    "libx264": ("x264-params", "bframes=0:ref=1:scenecut=0:threads=1:keyint={gop}:min-keyint={gop}"),
    "libx265": (
        "x265-params",
        "bframes=0:ref=1:scenecut=0:pools=none:frame-threads=1:keyint={gop}:min-keyint={gop}:log-level=none",
    ),
}


@dataclass(frozen=True)
class Encoding:
    """How frames are encoded."""

    codec: str = "libx264"
    """An encoder of FFmpeg's."""
    bit_rate: int = 1_500_000
    """Bits a second."""
    interval: int = 12
    """Frames from one intra frame to the next."""
    frame_rate: Fraction = Fraction(15)
    """Frames a second."""

    def __post_init__(self) -> None:
        """Raises ``UsageError`` for what no encoder takes, ``CodecError`` for one that is not there."""
        if self.bit_rate < 1000:
            raise UsageError(f"bit rate {self.bit_rate}: give bits a second, 1000 at least")
        if self.interval < 1:
            raise UsageError(f"interval {self.interval}: must be at least 1")
        if self.frame_rate <= 0:
            raise UsageError(f"frame rate {self.frame_rate}: must be above 0")
        try:
            found = av.codec.Codec(self.codec, "w")
        except (av.codec.codec.UnknownCodecError, ValueError):
            found = None
        if found is None or found.type != "video":
            raise CodecError(
                f"no video encoder {self.codec!r} here: choose libx264, libx265, mpeg4 or another of PyAV's"
            )


def encode_clip(frames: Iterable[npt.NDArray[np.uint8]], path: Path, encoding: Encoding) -> None:
    """Write frames, uint8 [H, W, 3] RGB of even height and width, as a video.

    The container follows from the suffix of ``path``. Colours are BT.601, limited range, and say so.

    Raises:
        UsageError: no frame, an odd height or width, or frames of different sizes.
        CodecError: an encoder that does not take such frames, does not fit the container, or does not run here.
        OutputError: ``path`` cannot be written.
    """
    # PyAV opens the file with its first packet, and then an encoder's errors look the same.
    if not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be written, since there is no such folder: make it or choose another")
    try:
        container = av.open(str(path), "w")
    except ValueError:
        raise OutputError(f"{path}: no container has the suffix {path.suffix!r}: choose .mp4 or .mkv") from None
    with container:
        try:
            _encode(frames, container, encoding)
        except ArsegError:
            raise
        except (av.error.FFmpegError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise CodecError(f"{encoding.codec} does not encode this ({reason}): choose libx264 or libx265") from None


def _encode(frames: Iterable[npt.NDArray[np.uint8]], container: OutputContainer, encoding: Encoding) -> None:
    stream = container.add_stream(encoding.codec, rate=encoding.frame_rate)
    assert isinstance(stream, av.VideoStream)
    codec = stream.codec_context
    stream.pix_fmt, codec.bit_rate, codec.gop_size, codec.max_b_frames = (
        "yuv420p", encoding.bit_rate, encoding.interval, 0,
    )  # fmt: skip
    codec.time_base = 1 / encoding.frame_rate
    codec.color_primaries = codec.color_trc = codec.colorspace = _BT601
    codec.color_range = ColorRange.MPEG
    if encoding.codec in _PARAMETERS:
        option, value = _PARAMETERS[encoding.codec]
        stream.options = {option: value.format(gop=encoding.interval)}
    else:
        codec.thread_count = 1
    size: tuple[int, ...] = ()
    for index, rgb in enumerate(frames):
        if not size:
            size = stream.height, stream.width = rgb.shape[:2]
            if size[0] % 2 or size[1] % 2:
                raise UsageError(f"frames of {size[0]}×{size[1]}: 4:2:0 video needs an even height and width")
        if rgb.shape[:2] != size:
            raise UsageError(f"frame {index} is {rgb.shape[0]}×{rgb.shape[1]}, the ones before {size[0]}×{size[1]}")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG"
        )
        picture.pts, picture.time_base = index, 1 / encoding.frame_rate
        container.mux(stream.encode(picture))
    if not size:
        raise UsageError("no frame to encode")
    container.mux(stream.encode())
