"""PNGs of one byte a pixel: with a palette (colour type 3), which OpenCV reads but cannot write, and grey (type 0).

Source: Portable Network Graphics Specification, 3rd edition, W3C 2025, sections 5, 9 and 11.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BIT_DEPTH, _COLOUR_TYPE_GREY, _COLOUR_TYPE_PALETTE, _NOT_INTERLACED = 8, 0, 3, 0
_FILTER_UP = 2  # rows of labels mostly repeat the row above


def palette_png(labels: npt.NDArray[np.uint8], table: npt.NDArray[np.uint8]) -> bytes:
    """Return a PNG file of the pixels ``labels``, uint8 [H, W], in the colours ``table``, uint8 [256, 3]."""
    return _png(labels, _COLOUR_TYPE_PALETTE, _chunk(b"PLTE", table.tobytes()))


def grey_png(values: npt.NDArray[np.uint8]) -> bytes:
    """Return a PNG file of the pixels ``values``, uint8 [H, W], from black to white."""
    return _png(values, _COLOUR_TYPE_GREY, b"")


def _png(values: npt.NDArray[np.uint8], colour_type: int, palette: bytes) -> bytes:
    height, width = values.shape
    header = struct.pack(">IIBBBBB", width, height, _BIT_DEPTH, colour_type, 0, 0, _NOT_INTERLACED)
    rows = np.empty((height, 1 + width), np.uint8)
    rows[:, 0] = _FILTER_UP
    rows[0, 1:] = values[0]
    np.subtract(values[1:], values[:-1], out=rows[1:, 1:])  # modulo 256, as the filter is defined
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            palette,
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
