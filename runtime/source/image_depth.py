"""Pictures of more than eight bits, or of fewer than their samples have room for, as eight bits.

Files with room for 16 bits often hold 10, 12 or 14, as machine vision cameras write them: taken at face value they are
nearly black. Netpbm files say their largest value, PNG files can say how many bits are significant (chunk ``sBIT``).

Sources: Netpbm's format descriptions (ppm, pgm); Portable Network Graphics Specification, 3rd edition,
section 11.3.3.4.
"""

from __future__ import annotations

import re
import struct
from typing import Final

import numpy as np
import numpy.typing as npt

_FULL: Final = 16
_DARK: Final = 14
"""With so many bits in use a picture is at a quarter of its brightness or below."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"


def to_eight_bits(picture: npt.NDArray[np.generic], data: bytes) -> tuple[npt.NDArray[np.uint8], int | None]:
    """Return a decoded picture, uint8 or uint16, as uint8, and how many bits it seems to have where nothing says so.

    Args:
        picture: as OpenCV decoded it, without any scaling.
        data: the file, which may say how many of the bits are significant.
    """
    largest = _netpbm_largest(data)
    if largest is not None and largest not in (255, 65535):
        values = np.arange(largest + 1)
        table = ((values * 255 + largest // 2) // largest).astype(np.uint8)
        return table[np.minimum(picture, largest)], None
    if picture.dtype == np.uint8:
        return np.asarray(picture, np.uint8), None
    samples = np.asarray(picture, np.uint16)
    used = int(samples.max()).bit_length()
    bits = _png_bits(data)
    if bits is not None and 8 <= bits < _FULL and used <= bits and _low_bits_matter(samples, _FULL - bits):
        return np.asarray(samples >> (bits - 8), np.uint8), None
    return np.asarray(samples >> 8, np.uint8), used if 0 < used <= _DARK and bits is None else None


def _low_bits_matter(samples: npt.NDArray[np.uint16], spare: int) -> bool:
    """Whether samples are plain numbers, not scaled to 16 bits as the PNG specification wants them.

    Scaling, by zeros or by repeating the upper bits, leaves dark samples just above multiples of ``2 ** spare``.
    """
    return bool(((samples & (2**spare - 1)) > 1).any())


def _netpbm_largest(data: bytes) -> int | None:
    """The largest value that a PGM or PPM file says its samples have, where OpenCV does not scale them by it itself."""
    space = rb"(?:\s|#[^\n]*\n)+"
    said = re.match(rb"P([2356])" + (space + rb"\d+") * 2 + space + rb"(\d+)", data[:4096])
    if said is None:
        return None
    largest = int(said[2])
    in_words = said[1] in b"23"
    return largest if 0 < largest < (1 << _FULL) and not (in_words and largest < 256) else None


def _png_bits(data: bytes) -> int | None:
    """The most significant bits that a PNG file says a channel has (alpha aside); None where it does not say."""
    at = len(_PNG)
    if not data.startswith(_PNG):
        return None
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"sBIT":
            bits = data[at + 8 : at + 8 + length]
            return max(bits[: 1 if length <= 2 else 3], default=None)
        if kind == b"IDAT":
            return None
        at += 12 + length
    return None
