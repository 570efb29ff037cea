"""What an H.264 stream says outside its pictures: parameter sets, and the heads of its slices.

Syntax: ITU-T H.264, 7.3.1 to 7.3.3; the container's form ("avcC", units with lengths): ISO/IEC 14496-15, 5.3.3.1.
Only the first bytes of each unit are read. What is damaged or not supported raises ``ValueError`` or ``IndexError``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

SLICE, PARTITION, IDR_SLICE, SEQUENCE_PARAMETERS, PICTURE_PARAMETERS = 1, 2, 5, 7, 8
"""Types of units."""

_WITH_CHROMA_FORMAT: Final = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
"""Profiles whose parameter set tells chroma format, bit depths and scaling matrices."""

_SLICE_HEAD: Final = 64
"""Bytes in which the head of a slice ends, unless it weighs many references."""
_LONGEST_HEAD: Final = 2048


class Bits:
    """Reads a payload bit by bit; raises IndexError or ValueError beyond its end."""

    def __init__(self, payload: bytes) -> None:
        """``payload``: of a unit, which can hold emulation prevention bytes."""
        payload = payload.replace(b"\x00\x00\x03", b"\x00\x00")
        self._bits = bin(int.from_bytes(b"\x01" + payload, "big"))[3:]
        self._at = 0

    def fixed(self, count: int) -> int:
        """An unsigned number of so many bits."""
        if self._at + count > len(self._bits):
            raise IndexError
        self._at += count
        return int(self._bits[self._at - count : self._at], 2) if count else 0

    def flag(self) -> bool:
        """One bit."""
        self._at += 1
        return self._bits[self._at - 1] == "1"

    def unsigned(self) -> int:
        """An Exp-Golomb code, 9.1."""
        zeros = self._bits.index("1", self._at) - self._at
        self._at += zeros
        return self.fixed(zeros + 1) - 1

    def signed(self) -> int:
        """The same for a number with a sign."""
        code = self.unsigned()
        return (code + 1) // 2 if code % 2 else -(code // 2)


class Crop(NamedTuple):
    """Pixels of the coded picture that are not shown."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


NO_CROP: Final = Crop()


@dataclass(frozen=True)
class SequenceParameters:
    """A sequence parameter set, 7.3.2.1.1."""

    references: int
    """max_num_ref_frames: how many frames the decoder keeps to predict others from."""
    chroma_format: int
    """ChromaArrayType: 0 where the planes are coded on their own or there is but one."""
    separate_planes: bool
    number_bits: int
    """Of frame_num."""
    gaps: bool
    """frame_num may skip values though nothing was lost."""
    order_type: int
    order_bits: int
    order_differences: bool
    frames_only: bool
    """No picture is coded in fields."""
    mixed: bool
    """Parts of a frame can be coded in fields."""
    width: int
    """Of the coded picture, in pixels."""
    crop: Crop


@dataclass(frozen=True)
class PictureParameters:
    """A picture parameter set, 7.3.2.2."""

    sequence: int
    field_order: bool
    active: tuple[int, int]
    """Entries of the reference lists, unless a slice says otherwise."""
    weighted: bool
    weighted_both: bool
    redundant: bool


class Slice(NamedTuple):
    """What matters of the head of a slice, 7.3.3."""

    sequence: SequenceParameters
    reference: bool
    """Other pictures can be predicted from this one."""
    idr: bool
    number: int
    """frame_num."""
    fields: bool
    """Coded as a field, or with fields in it."""
    last_reference_only: bool
    """Where it is predicted from the past, then from the reference picture decoded last."""
    marks: bool
    """It changes which pictures serve as references otherwise than by the first in, first out rule."""
    resets: bool
    """It makes frame_num start again."""


def split(payload: bytes, length_size: int) -> Iterator[bytes]:
    """The units of a packet; of slices, as much as their head can need.

    Args:
        payload: the packet.
        length_size: of the number of bytes before each unit; 0 where start codes stand between them.
    """
    if length_size:
        at = length_size
        while at < len(payload):
            end = at + int.from_bytes(payload[at - length_size : at], "big")
            yield payload[at : min(end, at + _LONGEST_HEAD) if _is_slice(payload[at]) else end]
            at = end + length_size
        return
    start = payload.find(b"\x00\x00\x01")
    while 0 <= start < len(payload) - 3:
        at = start + 3
        if _is_slice(payload[at]):  # where it ends need not be looked for, if nobody asks on
            yield payload[at : at + _LONGEST_HEAD]
            start = payload.find(b"\x00\x00\x01", at)
        else:
            start = payload.find(b"\x00\x00\x01", at)
            yield payload[at:start] if start >= 0 else payload[at:]


def _is_slice(first: int) -> bool:
    return first & 31 in (SLICE, PARTITION, IDR_SLICE)


def configuration(extradata: bytes) -> tuple[int, list[bytes]]:
    """The length size of a stream's packets (``split``) and the units of its parameter sets."""
    if not extradata or extradata[0] != 1:
        return 0, [unit for unit in re.split(rb"\x00\x00\x01", extradata) if unit]
    if len(extradata) < 7:
        return 4, []
    units, at = [], 5
    for mask in (31, 255):  # sequence parameter sets, then picture parameter sets
        if at >= len(extradata):
            break
        count = extradata[at] & mask
        at += 1
        for _ in range(count):
            length = int.from_bytes(extradata[at : at + 2], "big")
            units.append(extradata[at + 2 : at + 2 + length])
            at += 2 + length
    return (extradata[4] & 3) + 1, [unit for unit in units if unit]


def sequence_parameters(unit: bytes) -> tuple[int, SequenceParameters]:
    """Read a parameter set; its number comes with it."""
    bits = Bits(unit[1:])
    profile = bits.fixed(8)
    bits.fixed(16)  # constraint flags and level
    number = bits.unsigned()
    chroma_format, separate_planes = 1, False
    if profile in _WITH_CHROMA_FORMAT:
        chroma_format = bits.unsigned()
        separate_planes = chroma_format == 3 and bits.flag()
        bits.unsigned()  # bit depths of luma and chroma
        bits.unsigned()
        bits.flag()
        if bits.flag():
            for matrix in range(12 if chroma_format == 3 else 8):
                if bits.flag():
                    _skip_scaling_list(bits, 16 if matrix < 6 else 64)
    number_bits = bits.unsigned() + 4
    order_type, order_bits, order_differences = bits.unsigned(), 0, False
    if order_type == 0:
        order_bits = bits.unsigned() + 4
    elif order_type == 1:
        order_differences = not bits.flag()
        bits.signed()
        bits.signed()
        for _ in range(bits.unsigned()):
            bits.signed()
    references, gaps = bits.unsigned(), bits.flag()
    width, rows, frames_only = 16 * (bits.unsigned() + 1), bits.unsigned(), bits.flag()
    del rows
    mixed = not frames_only and bits.flag()
    bits.flag()
    crop = NO_CROP
    if bits.flag():
        left, right, top, bottom = (bits.unsigned() for _ in range(4))
        across = 2 if chroma_format in (1, 2) else 1
        down = (2 if chroma_format == 1 else 1) * (1 if frames_only else 2)
        crop = Crop(left * across, top * down, right * across, bottom * down)
    return number, SequenceParameters(
        references=references,
        chroma_format=0 if separate_planes else chroma_format,
        separate_planes=separate_planes,
        number_bits=number_bits,
        gaps=gaps,
        order_type=order_type,
        order_bits=order_bits,
        order_differences=order_differences,
        frames_only=frames_only,
        mixed=mixed,
        width=width,
        crop=crop,
    )


def picture_parameters(unit: bytes) -> tuple[int, PictureParameters]:
    """The same of a picture parameter set."""
    bits = Bits(unit[1:])
    number, sequence = bits.unsigned(), bits.unsigned()
    bits.flag()
    field_order = bits.flag()
    if bits.unsigned():
        raise ValueError("slice groups")  # of the extended profiles, which hardly anybody ever used
    active = bits.unsigned() + 1, bits.unsigned() + 1
    weighted, weighted_both = bits.flag(), bits.fixed(2) == 1
    for _ in range(3):
        bits.signed()
    bits.fixed(2)
    return number, PictureParameters(sequence, field_order, active, weighted, weighted_both, bits.flag())


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def slice_head(
    unit: bytes, sequences: dict[int, SequenceParameters], pictures: dict[int, PictureParameters]
) -> Slice | None:
    """Read the head of a slice with the parameter sets by number; None of a redundant slice.

    Raises:
        KeyError: a parameter set that did not come.
        ValueError, IndexError: damaged.
    """
    try:
        return _slice_head(unit[:_SLICE_HEAD], sequences, pictures)
    except (ValueError, IndexError):
        if len(unit) <= _SLICE_HEAD:
            raise
        return _slice_head(unit[:_LONGEST_HEAD], sequences, pictures)


def _slice_head(
    unit: bytes, sequences: dict[int, SequenceParameters], pictures: dict[int, PictureParameters]
) -> Slice | None:
    kind_of_unit, reference = unit[0] & 31, bool(unit[0] & 0x60)
    idr = kind_of_unit == IDR_SLICE
    bits = Bits(unit[1:])
    bits.unsigned()  # first_mb_in_slice
    kind = bits.unsigned() % 5
    predicted, both, intra = kind in (0, 3), kind == 1, kind in (2, 4)
    picture = pictures[bits.unsigned()]
    sequence = sequences[picture.sequence]
    if sequence.separate_planes:
        bits.fixed(2)
    number, field = bits.fixed(sequence.number_bits), False
    if not sequence.frames_only and bits.flag():
        field = True
        bits.flag()
    if idr:
        bits.unsigned()
    if sequence.order_type == 0:
        bits.fixed(sequence.order_bits)
    if (sequence.order_type == 0 or sequence.order_differences) and sequence.order_type < 2:
        if sequence.order_type == 1:
            bits.signed()
        if picture.field_order and not field:
            bits.signed()
    if picture.redundant and bits.unsigned():
        return None
    if both:
        bits.flag()
    active, modified = list(picture.active), False
    if not intra:
        if bits.flag():
            active[0] = bits.unsigned() + 1
            if both:
                active[1] = bits.unsigned() + 1
        for _ in range(1 + both):
            if bits.flag():
                modified = True
                while bits.unsigned() != 3:
                    bits.unsigned()
        if max(active) > 32:
            raise ValueError("more references than there can be")
        if (picture.weighted and predicted) or (picture.weighted_both and both):
            _skip_weights(bits, active[: 1 + both], chroma=sequence.chroma_format != 0)
    marks, resets = _marks(bits, idr=idr) if reference else (False, False)
    return Slice(
        sequence=sequence,
        reference=reference,
        idr=idr,
        number=number,
        fields=field or sequence.mixed,
        last_reference_only=sequence.references == 1 or (active[0] == 1 and not modified),
        marks=marks,
        resets=resets,
    )


def _skip_weights(bits: Bits, active: list[int], *, chroma: bool) -> None:
    bits.unsigned()
    if chroma:
        bits.unsigned()
    for count in active:
        for _ in range(count):
            for values in (2, 4) if chroma else (2,):
                if bits.flag():
                    for _ in range(values):
                        bits.signed()


def _marks(bits: Bits, *, idr: bool) -> tuple[bool, bool]:
    """``Slice.marks`` and ``Slice.resets``, 7.3.3.3."""
    if idr:
        bits.flag()
        return bits.flag(), False
    marks, resets = bits.flag(), False
    while marks and (operation := bits.unsigned()):
        for _ in range({1: 1, 2: 1, 3: 2, 4: 1, 6: 1}.get(operation, 0)):
            bits.unsigned()
        resets = resets or operation == 5
    return marks, resets
