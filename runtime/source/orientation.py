"""Whether a packet says how to turn its picture and those that follow: the display orientation message.

FFmpeg turns it into a display matrix, but only where the picture is turned: neither a message that takes an earlier one
back nor one of 0 degrees leaves a trace on the picture. Syntax: ITU-T H.264, 7.3.2.3 and D.1.27; ITU-T H.265, 7.3.5
and D.2.17.
"""

from __future__ import annotations

from typing import Final

from arseg_edge.runtime.source import h264

_DISPLAY_ORIENTATION: Final = 47
_H264_MESSAGES: Final = 6
_HEVC_MESSAGES: Final = 39
_HEVC_FIRST_NOT_SLICE: Final = 32


class OrientationMessages:
    """Looks for them in the packets of one stream."""

    def __init__(self, codec: str | None, extradata: bytes) -> None:
        self._codec, self._length_size = codec, 0
        if codec == "h264":
            self._length_size, _ = h264.configuration(extradata)
        elif codec == "hevc" and len(extradata) > 21 and extradata[0] == 1:  # "hvcC": ISO/IEC 14496-15, 8.3.3.1
            self._length_size = (extradata[21] & 3) + 1

    def told(self, payload: bytes) -> bool:
        """Whether there is one in this packet."""
        if self._codec not in ("h264", "hevc"):
            return False
        for unit in h264.split(payload, self._length_size):
            if not unit:
                continue
            if self._codec == "h264":
                kind = unit[0] & 31
                if kind in (h264.SLICE, h264.PARTITION, h264.IDR_SLICE):
                    return False
                messages = unit[1:] if kind == _H264_MESSAGES else b""
            else:
                kind = unit[0] >> 1 & 63
                if kind < _HEVC_FIRST_NOT_SLICE:
                    return False
                messages = unit[2:] if kind == _HEVC_MESSAGES else b""
            if _DISPLAY_ORIENTATION in _kinds(messages):
                return True
        return False


def _kinds(messages: bytes) -> list[int]:
    """The types of a unit's messages."""
    kinds: list[int] = []
    payload, at = messages.replace(b"\x00\x00\x03", b"\x00\x00"), 0
    while at + 1 < len(payload):  # the last byte ends the unit
        numbers = []
        for _ in range(2):  # type, then size
            number = 0
            while at < len(payload) and payload[at] == 255:
                number, at = number + 255, at + 1
            if at >= len(payload):
                return kinds
            numbers.append(number + payload[at])
            at += 1
        kinds.append(numbers[0])
        at += numbers[1]
    return kinds
