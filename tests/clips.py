"""Clips made of the sample street's own packets, and files that are no video at all."""

from __future__ import annotations

import wave
from pathlib import Path

import av

STREET = Path(__file__).parents[1] / "samples" / "street.mp4"
INTERVAL = 12
"""Every so many frames the street has an intra frame."""


def street_clip(path: Path, frames: int, *, times: int = 1) -> Path:
    """Write the first ``frames`` of the street ``times`` over, without encoding anything again."""
    with av.open(str(path), "w") as after:
        copy = None
        for turn in range(times):
            with av.open(str(STREET)) as before:
                stream = before.streams.video[0]
                copy = copy or after.add_stream_from_template(stream)
                after.start_encoding()  # writes the header even when no packet follows
                for number, packet in enumerate(before.demux(stream)):
                    if number == frames:
                        break
                    assert packet.dts is not None
                    assert packet.pts is not None
                    shift = turn * frames * packet.duration
                    packet.dts, packet.pts = packet.dts + shift, packet.pts + shift
                    packet.stream = copy
                    after.mux(packet)
    return path


def sound(path: Path) -> Path:
    """Write a tenth of a second of silence."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    return path
