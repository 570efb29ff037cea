"""To which shown frame a frame's vectors surely point: all that it takes, in one place.

FFmpeg's records name a reference list, not a frame. Vectors of list 0 surely point to *one* frame that was shown,
``DecodedFrame.reference`` frames back, where all of this holds, picture by picture:

1. Pictures are shown in the order in which they are decoded. A stream with B-frames, or whose decoder keeps pictures
   back for them, is not sure.
2. The picture can be predicted from one other only, the reference picture that was decoded last. In codecs older than
   H.264 a P-frame always is. In H.264, either the *active* sequence parameter set keeps one frame, or each slice has
   one entry in its list and leaves the list's order alone. And no picture since the last IDR one was kept for long or
   dropped by hand (memory management), or coded in fields.
3. It is known which one that is. A droppable picture (``nal_ref_idc`` 0 in H.264, "disposable" in FLV1) is a reference
   for none: the vectors of the next one reach over it, to the frame before it.
4. That picture was there (``frame_num`` skips nothing, no packet is missing by the stream's rhythm, the decoder took
   it) and was shown (no edit list hides it).

Where the first three fail, the frame's ``reference`` is None and pixels decide (``motion/resolve.py``). Where the
fourth fails, the chain starts again: ``lost_reference``. Vectors are also in pixels of the coded picture; what is
cropped on the left and on top is taken off in ``pictures.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from av.packet import Packet
from av.video.stream import VideoStream

from arseg_edge.runtime.source import h264
from arseg_edge.runtime.source.orientation import OrientationMessages
from arseg_edge.runtime.source.rhythm import Rhythm

_Parameters = tuple[int, h264.SequenceParameters] | tuple[int, h264.PictureParameters]

_SETS: Final = 256
"""Parameter sets that are remembered: a stream can have 32 and 256 in force."""

_NOT_CODED: Final = 16
"""Bytes; a shorter one is a picture of MPEG-4 that says it is not coded, and nothing comes of it."""

_DELAY: Final = 32
"""Packets after which a picture has come out, if it ever does."""


@dataclass(frozen=True)
class Coded:
    """What is known of a packet's picture before it is decoded; it rides on the packet and comes out on the picture."""

    number: int
    """Of the packet, in the order of decoding."""
    arrived: float | None = None
    """``time.monotonic()`` when it came in; None where nobody noted it."""
    missing: int = 0
    """Pictures lost right before it."""
    interrupted: bool = False
    """It does not follow on the picture that was shown before: one was hidden, or parts of it may be missing."""
    droppable: bool = False
    """No other picture is predicted from it."""
    last_reference_only: bool = True
    """Where it is predicted from the past, then from the last picture that is not droppable."""
    lost_reference: bool = False
    """That one never came, or was not shown."""
    references: int | None = None
    """How many frames at most it can be predicted from; None where that does not show."""
    sequence: int = 0
    """Counts the parameter sets that were in force so far."""
    numbered: bool = False
    """Pictures have numbers that tell whether one is missing."""
    picture: bool = False
    """One picture will come of it, if the decoder takes it."""
    crop: h264.Crop = h264.NO_CROP
    coded_width: int = 0
    """In pixels, before the crop; 0 where that does not show."""
    orientation: bool = False
    """It says anew how to turn its picture and those that follow (``source/orientation.py``)."""


@dataclass(frozen=True)
class Place:
    """A shown frame's place among the others."""

    reference: int | None
    """``DecodedFrame.reference``."""
    lost_reference: bool
    discontinuity: bool


class CodedOrder:
    """Takes the packets of one stream, as they go to the decoder."""

    def __init__(self, codec: str | None, extradata: bytes | None, references: int | None) -> None:
        """Set up.

        Args:
            codec: the decoder.
            extradata: the stream's parameter sets, as far as the container has them.
            references: ``Coded.references`` where the stream itself does not say.
        """
        self._number = -1
        self._rhythm = Rhythm()
        self._timed = False
        """Packets say when they are to be decoded."""
        self._failed = self._unread = 0
        """Packets that the decoder refused since it last took one; those that could not be read here either."""
        self._change = 0
        self._expected: set[int] = set()
        """Packets whose pictures are still to come out."""
        self._torn = False
        """Parts of the next packet may be missing."""
        self._doubtful: int | None = None
        """The last packet, where parts of it may be."""
        self._suspects: set[int] = set()
        """Packets of which parts are missing, by the container."""
        self._concealed: set[int] = set()
        """The last ones whose pictures the decoder had to mend."""
        self._farthest = -1
        """The place in the file of the last packet that was shown."""
        self._never: set[int] = set()
        """Places of packets that were only decoded, so far."""
        self._hidden = self._shown = self._lost = False
        self._references = references
        self._orientation = OrientationMessages(codec, extradata or b"")
        self._h264 = _H264(extradata or b"") if codec == "h264" else None
        if self._h264 is not None:
            self._references = self._h264.references
        self._flv, self._mpeg4 = codec == "flv", codec == "mpeg4"

    def take(self, packet: Packet[VideoStream]) -> Coded:
        """The next packet."""
        self._number += 1
        time = self._time(packet)
        missing = self._rhythm.missing(None if packet.is_discard else time)
        coded = Coded(
            number=self._number,
            arrived=packet.opaque if isinstance(packet.opaque, float) else None,
            references=self._references,
        )
        payload = bytes(packet)
        if self._h264 is not None:
            if packet.has_sidedata("new_extradata"):
                self._h264.configure(bytes(packet.get_sidedata("new_extradata")))
            coded = self._h264.take(payload, coded, missing)
            missing = coded.missing
        else:
            coded = replace(
                coded,
                picture=self._mpeg4 and len(payload) > _NOT_CODED,
                droppable=self._flv and _is_disposable(payload),
                lost_reference=self._lost or missing > 0,
            )
            self._lost = coded.lost_reference and coded.droppable
        missing = max(missing, self._unread) + self._failed
        coded = replace(
            coded,
            missing=missing,
            interrupted=(self._hidden and self._shown) or self._torn,
            orientation=self._orientation.told(payload),
        )
        self._tear(packet)
        self._failed = self._unread = 0
        self._hidden = packet.is_discard
        self._note(packet)
        if packet.is_discard:
            self._absent(coded)
        else:
            self._shown = True
            if coded.picture:
                self._expected.add(coded.number)
        return coded

    def _tear(self, packet: Packet[VideoStream]) -> None:
        """Follow what MPEG-TS says of its own packets: where their count jumps, something is missing, or was joined.

        libavformat says so on the packet before the one in which it happened. Time that falls back or leaps right
        behind that shows a join, in which nothing was lost.
        """
        if self._doubtful is not None and self._rhythm.follows:
            self._suspects.add(self._doubtful)
        self._doubtful = self._number if self._torn else None
        self._torn = packet.is_corrupt

    def damaged(self, *, ended: bool = False) -> int:
        """How many pictures more are damaged by what the container says, though their decoder noticed nothing."""
        settled = {number for number in self._suspects if ended or number < self._number - _DELAY}
        self._suspects -= settled
        return len(settled - self._concealed)

    @property
    def next_number(self) -> int:
        """``Coded.number`` of the next packet."""
        return self._number + 1

    def _time(self, packet: Packet[VideoStream]) -> int | None:
        """When it is to be decoded; when it is shown, where the container tells nothing else of any packet."""
        if self._timed or packet.dts is None:
            return packet.dts if self._timed else packet.pts
        self._timed, self._rhythm = True, Rhythm()
        return packet.dts

    def fail(self, coded: Coded) -> None:
        """The decoder refused this packet, the last one taken."""
        if self._h264 is None or coded.picture:
            self._failed += 1
        else:  # frame_num counts it, too
            self._unread += 1
        self._expected.discard(coded.number)
        self._absent(coded)

    def skip(self) -> None:
        """Packets are left out on purpose: the next one does not follow on the last, and nothing is missing."""
        self._rhythm.interrupt()
        self._torn, self._doubtful = False, None
        if self._h264 is not None:
            self._h264.skip()

    def came(self, coded: Coded, *, concealed: bool) -> int:
        """The packet's picture came out, with or without parts that the decoder had to conceal.

        Returns how many pictures can no longer come, and never will.
        """
        if concealed:
            self._concealed = {each for each in self._concealed if each > coded.number - 2 * _DELAY} | {coded.number}
        self._expected.discard(coded.number)
        overdue = {number for number in self._expected if number < coded.number - _DELAY}
        self._expected -= overdue
        return len(overdue)

    def end(self) -> int:
        """Nothing more comes out; returns how many pictures should have."""
        absent = self._failed + self._unread + len(self._expected)
        self._failed = self._unread = 0
        self._expected.clear()
        return absent

    @property
    def references(self) -> int | None:
        """How many frames at most a P-frame can refer to, before anything is decoded; None where that does not show."""
        return self._references

    def hidden(self) -> int:
        """How many pictures more, or fewer, than before the last packet are never to be shown."""
        change, self._change = self._change, 0
        return change

    def _note(self, packet: Packet[VideoStream]) -> None:
        """Whether the packet is never to be shown: an edit list has some read twice, and shown once."""
        place = packet.pos if packet.pos is not None and packet.pos >= 0 else None
        if not packet.is_discard:
            if place is not None:
                self._farthest = max(self._farthest, place)
                if place in self._never:
                    self._never.remove(place)
                    self._change -= 1
        elif place is None or (place > self._farthest and place not in self._never):
            self._change += 1
            if place is not None:
                self._never.add(place)

    def _absent(self, coded: Coded) -> None:
        if not coded.droppable:
            self._lost = True
            if self._h264 is not None:
                self._h264.lose()


class ShownOrder:
    """Takes the pictures of one stream, as they are shown."""

    def __init__(self) -> None:
        self._last = self._last_loss = -1
        self._since: int | None = None
        """Frames since the last one that was a reference; None where that was lost."""
        self._rhythm = Rhythm()
        self._gap = False
        """There was a gap right before the last picture."""

    def place(self, coded: Coded, pts: int | None, *, predicted: bool, intra: bool, reordered: bool) -> Place:
        """The next picture.

        Args:
            coded: of its packet.
            pts: when it is shown, in any unit.
            predicted: it is a P-frame.
            intra: it is predicted from no other.
            reordered: pictures are not shown in the order in which they are decoded.
        """
        # A decoder can keep pictures for itself, as H.264's does where their order is upset by a lost IDR picture, and
        # MPEG-4's where a B-frame lacks one of its two references.
        withheld = coded.picture and not reordered and coded.number > self._last + 1
        missing = coded.missing > 0
        if missing or withheld:
            self._last_loss = coded.number
        # The packet after a lost one need not be the first that is shown after the gap. Where packets are numbered and
        # none is missing, a gap is a pause.
        near = 0 <= coded.number - self._last_loss < _DELAY and self._last_loss >= 0
        self._rhythm.missing(pts)
        gap = self._rhythm.gap and (near or not coded.numbered)
        if missing and self._gap and not reordered:
            missing = False  # times of decoding that libavformat makes up can be late by one
        self._gap = gap
        self._last = coded.number
        if withheld or coded.lost_reference:
            self._since = None
        since = None if self._since is None else self._since + 1
        sure = predicted and not reordered and coded.last_reference_only
        self._since = since if coded.droppable else 0
        return Place(
            reference=since if sure else None,
            lost_reference=coded.lost_reference and not intra,
            discontinuity=missing or coded.interrupted or withheld or gap,
        )


class _H264:
    """Follows parameter sets and frame numbers."""

    def __init__(self, extradata: bytes) -> None:
        self._sequences: dict[int, h264.SequenceParameters] = {}
        self._pictures: dict[int, h264.PictureParameters] = {}
        self._read: dict[bytes, _Parameters | None] = {}
        self._active: h264.SequenceParameters | None = None
        self._count = 0
        self._last_number: int | None = None
        """frame_num of the last reference picture."""
        self._lost = self._marked = self._droppable_seen = False
        self._held = (-_DELAY, 0)
        """Of which packet, and how many: pictures missing by the clock before any droppable one was seen."""
        self._early = 0
        """Pictures that frame_num told to be missing before the clock did: libavformat makes times up, late by some."""
        self._length_size = 0
        self.configure(extradata)
        allowed = [each.references for each in self._sequences.values()]
        self.references = max(allowed, default=None)

    def configure(self, extradata: bytes) -> None:
        """Take over parameter sets from beside the stream."""
        self._length_size, units = h264.configuration(extradata)
        for unit in units:
            if unit[0] & 31 in (h264.SEQUENCE_PARAMETERS, h264.PICTURE_PARAMETERS):
                self._parameters(unit.rstrip(b"\x00"))

    def lose(self) -> None:
        """The last reference picture is not there, or was not shown."""
        self._lost = True

    def skip(self) -> None:
        """Pictures are left out: the next frame_num says nothing."""
        self._last_number, self._early = None, 0

    def take(self, payload: bytes, coded: Coded, missing: int) -> Coded:
        """What the packet says; ``missing``: pictures before it by the stream's rhythm."""
        head, single = None, True
        for unit in h264.split(payload, self._length_size):
            kind = unit[0] & 31 if unit else 0
            if kind in (h264.SEQUENCE_PARAMETERS, h264.PICTURE_PARAMETERS):
                self._parameters(unit.rstrip(b"\x00"))
            elif kind in (h264.SLICE, h264.PARTITION, h264.IDR_SLICE):
                try:
                    other = h264.slice_head(unit, self._sequences, self._pictures)
                except (KeyError, ValueError, IndexError):
                    single = False
                    continue
                head = head or other
                single = single and (other is None or other.last_reference_only)
                if head is not None and (not single or head.sequence.references == 1):
                    break  # further slices say nothing more
        if head is None:
            # Damaged: whatever it was, the next one may be predicted from it.
            return replace(coded, missing=missing, last_reference_only=False, references=self.references)
        return self._taken(head, coded, missing, single=single)

    def _taken(self, head: h264.Slice, coded: Coded, missing: int, *, single: bool) -> Coded:
        sequence = head.sequence
        if sequence != self._active:
            self._active, self._count = sequence, self._count + 1
        skipped = 0 if head.idr else self._skipped(head)
        if head.idr:
            self._lost = self._marked = False
        elif skipped and not sequence.gaps:
            # Modulo its range, and without droppable pictures: the clock knows better, if it knows by now.
            self._early = 0 if missing else skipped
            self._lost, missing = True, missing or skipped
        elif skipped:
            self._marked = True  # pictures that never were push others out
        elif not self._droppable_seen and self._last_number is not None:
            # All that was coded is there, whatever the clock says; unless droppable pictures are yet to show.
            self._held = (coded.number, missing) if missing else self._held
            missing = 0
        elif missing and self._early:
            missing, self._early = max(0, missing - self._early), 0
        lost = self._lost
        self._marked = self._marked or head.marks
        if head.reference:
            self._last_number, self._lost = 0 if head.resets else head.number, False
        else:
            if not self._droppable_seen and coded.number - self._held[0] < _DELAY:
                missing += self._held[1]
            self._droppable_seen = True
            if skipped:  # counted
                self._last_number = (head.number - 1) % (1 << sequence.number_bits)
        return replace(
            coded,
            missing=missing,
            droppable=not head.reference,
            last_reference_only=single and not self._marked and not head.fields,
            lost_reference=lost,
            references=sequence.references,
            sequence=self._count,
            numbered=not self._droppable_seen,
            picture=sequence.frames_only,
            crop=sequence.crop,
            coded_width=sequence.width,
        )

    def _skipped(self, head: h264.Slice) -> int:
        """How many reference pictures frame_num passes over, 7.4.3; modulo its range."""
        if self._last_number is None or head.fields:
            return 0
        span = 1 << head.sequence.number_bits
        return (head.number - self._last_number - 1) % span

    def _parameters(self, unit: bytes) -> None:
        """Take over a parameter set, which as a rule is one that came before."""
        if unit not in self._read:
            if len(self._read) > _SETS:
                self._read.clear()
            try:
                kind = unit[0] & 31
                reader = h264.sequence_parameters if kind == h264.SEQUENCE_PARAMETERS else h264.picture_parameters
                self._read[unit] = reader(unit)
            except (ValueError, IndexError):
                self._read[unit] = None
        read = self._read[unit]
        if read is not None:
            number, parameters = read
            if isinstance(parameters, h264.SequenceParameters):
                self._sequences[number] = parameters
            else:
                self._pictures[number] = parameters


def _is_disposable(payload: bytes) -> bool:
    """Whether a picture of FLV1 is one that no other is predicted from (libavcodec/flvdec.c)."""
    bits = h264.Bits(payload[:16].replace(b"\x00\x00\x03", b"\x00\x00\x03\x03"))
    try:
        if bits.fixed(17) != 1:
            return False
        bits.fixed(5 + 8)
        size = bits.fixed(3)
        bits.fixed({0: 16, 1: 32}.get(size, 0))
        return bits.fixed(2) >= 2
    except (ValueError, IndexError):
        return False
