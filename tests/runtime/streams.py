"""Small encoded videos with known content, for the tests of decoding and motion."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

X265_QUIET = {"x265-params": "log-level=none"}


def texture(height: int, width: int, seed: int = 0) -> Image:
    """Soft coloured noise over the whole range, RGB [height, width, 3]."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.asarray(cv2.normalize(soft, soft, 0, 255, cv2.NORM_MINMAX)).astype(np.uint8)


def panning(count: int, height: int, width: int, dx: int, dy: int, seed: int = 0) -> list[Image]:
    """A view that moves over a texture: the content at x in a frame was at x + (dx, dy) in the one before."""
    wide, high = width + count * abs(dx), height + count * abs(dy)
    world = texture(high, wide, seed)
    x0, y0 = (0 if dx >= 0 else wide - width), (0 if dy >= 0 else high - height)
    return [
        np.ascontiguousarray(world[y0 + t * dy : y0 + t * dy + height, x0 + t * dx : x0 + t * dx + width])
        for t in range(count)
    ]


def as_frame(picture: Image) -> av.VideoFrame:
    """An RGB picture for PyAV."""
    return av.VideoFrame.from_ndarray(picture, format="rgb24")


def encode(
    path: Path,
    pictures: Sequence[Image | av.VideoFrame],
    codec: str = "libx264",
    *,
    rate: Fraction | int = 25,
    gop: int = 12,
    b_frames: int = 0,
    refs: int = 1,
    bit_rate: int = 4_000_000,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    **settings: Any,
) -> Path:
    """Encode RGB pictures, or frames as they are; ``settings`` are attributes of the encoder's context."""
    if codec == "libx264":
        options = {"refs": str(refs), "preset": "veryfast", **(options or {})}
    if codec == "libx265":
        options = {**X265_QUIET, **(options or {})}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        assert isinstance(stream, av.VideoStream)
        frames = [picture if isinstance(picture, av.VideoFrame) else as_frame(picture) for picture in pictures]
        stream.height, stream.width = frames[0].height, frames[0].width
        stream.pix_fmt, stream.bit_rate, stream.gop_size = pix_fmt, bit_rate, gop
        stream.codec_context.max_b_frames = b_frames
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for frame in frames:
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def change_packets(source: Path, target: Path, changed: dict[int, bytes | None]) -> Path:
    """Copy the video stream with the payload of some packets replaced; None drops the packet."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        stream = before.streams.video[0]
        copy = after.add_stream_from_template(stream, opaque=True)  # decoders have names that encoders have not
        after.start_encoding()  # writes the header even when no packet follows
        for number, packet in enumerate(before.demux(stream)):
            if not packet.size:
                continue
            if number in changed:
                payload = changed[number]
                if payload is None:
                    continue
                replaced = av.Packet(payload)
                replaced.pts, replaced.dts, replaced.time_base = packet.pts, packet.dts, packet.time_base
                replaced.is_keyframe = packet.is_keyframe
                packet = replaced
            packet.stream = copy
            after.mux(packet)
    return target
