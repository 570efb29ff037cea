"""The codec's motion vectors, put on a grid of 8x8 blocks.

FFmpeg hands them out as records (``AVMotionVector``), one for each predicted block and reference list.
What the fields mean, read from its sources and checked in the tests on panned pictures:

- ``dst_x``, ``dst_y``: the block's *centre*, in the coded picture, which can be larger than the cropped one;
- ``w``, ``h``: 16 or 8; a smaller partition appears as the 8x8 block that it is part of;
- ``motion_x / motion_scale``, and the like for y: the displacement, so the content comes from x + dx;
- ``source``: the reference *list*, negative for list 0 (the past, as a rule), positive for list 1;
- a skipped block has a record, an intra block has none.

The records hold uninitialised padding bytes: compare fields, never whole records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.runtime.motion.native import grid_vectors

BLOCK: Final = 8
"""Side of a block in pixels."""

INTRA: Final = -1
"""``BlockMotion.reference`` of a block that was not predicted from another frame."""

VECTOR_CODECS: Final = frozenset(
    {
        "h264",
        "mpeg4",
        "mpeg1video",
        "mpeg2video",
        "h263",
        "flv",
        "msmpeg4",
        "msmpeg4v2",
        "wmv1",
        "wmv2",
        "rv10",
        "rv20",
    }
)
"""Decoders whose vectors were checked against a known displacement; those of any other are not used."""

VectorRecords = npt.NDArray[Any]
"""A structured array of ``AVMotionVector`` records, shape [n]."""


def moved_vectors(records: VectorRecords, left: int, top: int) -> VectorRecords:
    """The records of a picture whose first ``left`` columns and ``top`` rows are not shown.

    Blocks that then lie between those of the grid go to the nearest.
    """
    moved = records.copy()
    for axis, side, cut in (("x", "w", left), ("y", "h", top)):
        half = records[side].astype(np.int32) // 2
        start = records[f"dst_{axis}"] - half - cut
        moved[f"dst_{axis}"] = (start + BLOCK // 2) // BLOCK * BLOCK + half
        moved[f"src_{axis}"] = records[f"src_{axis}"] - cut
    return moved


@dataclass(frozen=True, eq=False)
class BlockMotion:
    """Motion of one frame towards the frames it was predicted from, per 8x8 block.

    The grid has ceil(height / 8) x ceil(width / 8) blocks; those on the right and lower edge may reach
    beyond the picture.
    """

    displacement: npt.NDArray[np.float32]
    """[rows, columns, 2], (dx, dy) in pixels: the content at x comes from x + dx. Void where intra."""
    reference: npt.NDArray[np.int8]
    """[rows, columns]: 0 is the last frame that others are predicted from, as a rule the frame before, 1 is the one
    before that, ...; ``INTRA`` where there is none."""
    height: int
    width: int

    @property
    def vectors(self) -> npt.NDArray[np.float32]:
        """``displacement``, but 0 where intra: a new array."""
        # One number of eight bytes for each vector: five times as fast.
        pairs = np.ascontiguousarray(self.displacement).view(np.complex64)[..., 0]
        vectors = np.where(self.reference == INTRA, np.complex64(0), pairs)
        return vectors[..., None].view(np.float32)

    def __repr__(self) -> str:
        rows, columns = self.reference.shape
        return f"BlockMotion({rows}x{columns} blocks of {self.width}x{self.height} pixels)"


def block_motion(records: VectorRecords, height: int, width: int, *, future: bool = False) -> BlockMotion:
    """Put the list-0 vectors (``future``: those of list 1) of a ``height`` x ``width`` picture on the grid.

    All are taken as pointing to the last frame that others are predicted from; when that is sure is written in
    ``source/reference_order.py``. The records name the reference list, not the frame, and an encoder with several
    references (x264's default) hides in it which one a block used; ``motion/resolve.py`` finds it out.
    """
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    # One cell more on each side takes what reaches beyond the picture. A pair is set faster as one number.
    displacement = np.zeros((rows + 2, columns + 2), np.complex64)
    reference = np.full((rows + 2, columns + 2), INTRA, np.int8)

    listed = records["source"] > 0 if future else records["source"] < 0
    if not listed.all():  # copying records takes as long as reading them
        records = records[listed]
    block_width, block_height = records["w"], records["h"]
    left = (records["dst_x"] - block_width // 2) // BLOCK
    top = (records["dst_y"] - block_height // 2) // BLOCK
    vector = np.empty(len(records), np.complex64)
    vector.real = records["motion_x"] / records["motion_scale"]
    vector.imag = records["motion_y"] / records["motion_scale"]

    near = (top >= -1) & (top < rows) & (left >= -1) & (left < columns)
    first = (top.astype(np.intp) + 1) * (columns + 2) + left + 1
    for down in range(2):  # a block covers one or two cells each way
        for right in range(2):
            covered = near & (block_height > down * BLOCK) & (block_width > right * BLOCK)
            cells = first[covered] + down * (columns + 2) + right
            displacement.reshape(-1)[cells] = vector[covered]
            reference.reshape(-1)[cells] = 0
    displacement, reference = displacement[1:-1, 1:-1].copy(), reference[1:-1, 1:-1].copy()
    return BlockMotion(displacement[..., None].view(np.float32), reference, height, width)


def widened(cells: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    """Repeat each cell of ``cells`` [rows, columns, ...] over its 8 pixels across: [rows, width, ...]."""
    rows, columns = cells.shape[:2]
    pixels = cv2.resize(cells, (columns * BLOCK, rows), interpolation=cv2.INTER_NEAREST)
    return np.asarray(pixels)[:, :width]


@dataclass(frozen=True, eq=False)
class ListedVectors:
    """All vectors of a frame."""

    past: BlockMotion
    """Of list 0."""
    future: BlockMotion
    """Of list 1; all intra where the frame has none."""

    @property
    def intra_share(self) -> float:
        """The share of blocks, 0 to 1, without a vector."""
        return float(((self.past.reference == INTRA) & (self.future.reference == INTRA)).mean())


def listed_vectors(records: VectorRecords, height: int, width: int) -> ListedVectors:
    """Put all vectors of a ``height`` x ``width`` picture on the grid."""
    blocks = -(-height // BLOCK), -(-width // BLOCK)
    if (found := grid_vectors(records, height, width, blocks)) is not None:
        past, future = (BlockMotion(*each, height, width) for each in zip(*found, strict=True))
    else:
        past, future = (block_motion(records, height, width, future=future) for future in (False, True))
    return ListedVectors(past, future)


class PixelVectors:
    """Spreads the vectors of blocks over a working picture of another size than the frame's."""

    def __init__(self, frame: tuple[int, int], working: tuple[int, int]) -> None:
        """Both as (height, width)."""
        self._rows, self._columns = (_blocks(full, small) for full, small in zip(frame, working, strict=True))
        self._scale = np.array([working[1] / frame[1], working[0] / frame[0]], np.float32)

    def spread(self, blocks: BlockMotion) -> npt.NDArray[np.float32]:
        """Displacements in working pixels, [h, w, 2]; 0 where intra."""
        # Pairs again, and no check of indices that are known.
        pairs: npt.NDArray[np.complex64] = (blocks.vectors * self._scale).view(np.complex64)[..., 0]
        spread = pairs.take(self._columns, axis=1, mode="clip").take(self._rows, axis=0, mode="clip")
        return np.asarray(spread[..., None].view(np.float32))


def _blocks(full: int, small: int) -> npt.NDArray[np.intp]:
    """The block that each of ``small`` working pixels lies in, along a side of ``full`` pixels."""
    return ((np.arange(small) + 0.5) * full / small // BLOCK).astype(np.intp)
