"""How many reference frames an H.264 stream says it uses: ``max_num_ref_frames`` of its parameter sets.

With one, a P-frame's vectors surely point to the frame before. Syntax: ITU-T H.264, 7.3.1 and 7.3.2.1.1;
the container's form of the parameter sets ("avcC"): ISO/IEC 14496-15, 5.3.3.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_SEQUENCE_PARAMETERS: Final = 7
_WITH_CHROMA_FORMAT: Final = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
"""Profiles whose parameter set tells chroma format, bit depths and scaling matrices."""


class _Bits:
    """Reads a payload bit by bit; raises IndexError beyond its end."""

    def __init__(self, payload: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in payload)
        self._at = 0

    def fixed(self, count: int) -> int:
        if self._at + count > len(self._bits):
            raise IndexError
        self._at += count
        return int(self._bits[self._at - count : self._at], 2) if count else 0

    def unsigned(self) -> int:
        """An Exp-Golomb code, 9.1."""
        zeros = self._bits.index("1", self._at) - self._at
        self._at += zeros
        return self.fixed(zeros + 1) - 1

    def signed(self) -> int:
        code = self.unsigned()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def reference_frames(extradata: bytes | None) -> int | None:
    """The largest number that any sequence parameter set allows; None where there is none to be read."""
    if not extradata:
        return None
    try:
        found = [_allowed(unit) for unit in _units(extradata) if unit and unit[0] & 31 == _SEQUENCE_PARAMETERS]
    except (IndexError, ValueError):
        return None
    return max(found, default=None)


def _units(extradata: bytes) -> Iterator[bytes]:
    """NAL units, from start codes or from the lengths of an "avcC" record."""
    if extradata[0] != 1:
        yield from re.split(rb"\x00\x00\x01", extradata)
        return
    at = 6
    for _ in range(extradata[5] & 31):
        length = int.from_bytes(extradata[at : at + 2], "big")
        yield extradata[at + 2 : at + 2 + length]
        at += 2 + length


def _allowed(unit: bytes) -> int:
    bits = _Bits(unit[1:].replace(b"\x00\x00\x03", b"\x00\x00"))
    profile = bits.fixed(8)
    bits.fixed(16)  # constraint flags and level
    bits.unsigned()  # seq_parameter_set_id
    if profile in _WITH_CHROMA_FORMAT:
        chroma_format = bits.unsigned()
        bits.fixed(1 if chroma_format == 3 else 0)
        bits.unsigned()  # bit depths of luma and chroma
        bits.unsigned()
        bits.fixed(1)
        if bits.fixed(1):
            for number in range(12 if chroma_format == 3 else 8):
                if bits.fixed(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    bits.unsigned()  # log2_max_frame_num
    order = bits.unsigned()  # pic_order_cnt_type
    if order == 0:
        bits.unsigned()
    elif order == 1:
        bits.fixed(1)
        bits.signed()
        bits.signed()
        for _ in range(bits.unsigned()):
            bits.signed()
    return bits.unsigned()


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last
