"""What is read of H.264 outside its pictures, against what the encoder was told and what FFmpeg makes of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from streams import encode, panning

from arseg_edge.runtime.source import h264
from arseg_edge.runtime.source.reference_order import Coded, CodedOrder

START = b"\x00\x00\x00\x01"


def sequences(extradata: bytes) -> list[h264.SequenceParameters]:
    _, units = h264.configuration(extradata)
    return [h264.sequence_parameters(unit)[1] for unit in units if unit[0] & 31 == h264.SEQUENCE_PARAMETERS]


def extradata_of(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.extradata or b""


def coded(path: Path) -> list[Coded]:
    """What is said of each packet."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        order = CodedOrder("h264", stream.codec_context.extradata, None)
        return [order.take(packet) for packet in container.demux(stream) if packet.size]


@pytest.mark.parametrize(
    ("refs", "settings"),
    [
        (1, {}),
        (2, {}),
        (5, {}),
        (1, {"pix_fmt": "yuv444p"}),
        (3, {"pix_fmt": "yuv420p10le"}),
        (1, {"options": {"profile": "baseline"}}),
        (1, {"options": {"x264-params": "cqm=jvt"}}),
        (2, {"options": {"x264-params": "tff=1"}}),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "h264"])
def test_references_that_a_stream_allows(tmp_path: Path, suffix: str, refs: int, settings: dict[str, Any]) -> None:
    path = encode(tmp_path / f"v.{suffix}", panning(8, 64, 64, 1, 0), refs=refs, **settings)
    (sequence,) = sequences(extradata_of(path))
    assert (sequence.references, sequence.width) == (refs, 64)
    assert sequence.frames_only is ("tff" not in str(settings))
    assert {each.references for each in coded(path)} == {refs}


def bits(text: str) -> bytes:
    text = text.replace(" ", "").ljust(128, "0")
    return bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))


def test_references_of_other_picture_orders() -> None:
    head = "01100111 01000010 00000000 00011110 1 1"  # profile 66; set 0; frame numbers of 4 bits
    tail = "0 1 1 1 0 0"  # no gaps, one macroblock, frames only, nothing cropped
    (found,) = sequences(START + bits(f"{head} 011 00100 {tail}"))  # order by decoding
    assert (found.references, found.order_type) == (3, 2)
    cycle = "010 1 00100 00101 011 1 010"  # order by a cycle: flag, two offsets, two more of a cycle
    (found,) = sequences(START + bits(f"{head} {cycle} 00101 {tail}"))
    assert (found.references, found.order_type, found.order_differences) == (4, 1, False)


@pytest.mark.parametrize("unit", [b"\x67", b"\x67\x64", b"\x67\xff\xff\xff\x00\x00"])
def test_damaged_parameter_sets_are_refused(unit: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        h264.sequence_parameters(unit)


@pytest.mark.parametrize("extradata", [None, b"", b"\x01", b"\x00\x00\x01\x67", b"\x00\x00\x01\x68\xff", b"\x01" * 9])
def test_streams_without_parameter_sets(extradata: bytes | None) -> None:
    assert CodedOrder("h264", extradata, None).references is None


def test_noise_is_taken_for_nothing() -> None:
    rng = np.random.default_rng(0)
    for number in range(600):
        order = CodedOrder("h264", START + b"\x67" + rng.bytes(12) + START + b"\x68" + rng.bytes(6), None)
        assert order.references is None or order.references >= 0
        packet = av.Packet(START + bytes([[0x61, 0x65, 0x67, 0x68][number % 4]]) + rng.bytes(20))
        order.take(packet)


# Slices: the last field that is read is the marking, so that all fields before it must have been read rightly


@pytest.mark.parametrize("suffix", ["mp4", "ts", "h264"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"refs": 4},
        {"refs": 4, "options": {"x264-params": "weightp=2"}},
        {"refs": 3, "b_frames": 3, "options": {"b-pyramid": "normal", "x264-params": "weightb=1"}},
        {"options": {"x264-params": "slices=4"}},
        {"options": {"profile": "baseline"}},
        {"pix_fmt": "yuv444p", "options": {"x264-params": "weightp=2"}},
        {"pix_fmt": "gray", "options": {"x264-params": "weightp=2"}},
    ],
)
def test_heads_of_slices_are_read_to_their_end(tmp_path: Path, suffix: str, settings: dict[str, Any]) -> None:
    faded = [
        np.clip(picture * (1 - t / 30), 0, 255).astype(np.uint8) for t, picture in enumerate(panning(16, 96, 128, 2, 1))
    ]
    path = encode(tmp_path / f"v.{suffix}", faded, gop=8, **settings)
    found = coded(path)
    assert len(found) == 16
    assert all(each.picture for each in found)
    assert [each.missing for each in found] == [0] * 16
    b_frames = settings.get("b_frames", 0)
    assert any(each.droppable for each in found) is (b_frames > 0)
    refs = settings.get("refs", 1)
    sure = [each.last_reference_only for each in found]
    if refs == 1:
        assert all(sure)
    elif not b_frames:
        assert sure[1]  # one frame to refer to
        assert not any(sure[3:8])


def with_crop(path: Path, target: Path, **crop: int) -> Path:
    """A copy of an elementary stream whose parameter set says what is not shown."""
    options = ":".join(f"crop_{side}={count}" for side, count in crop.items())
    raw = target.with_suffix(".h264")
    with av.open(str(path)) as before, av.open(str(raw), "w") as after:
        stream = before.streams.video[0]
        changed = BitStreamFilterContext(f"h264_metadata={options}", stream)
        copy = after.add_stream_from_template(stream)
        for packet in before.demux(stream):
            for each in changed.filter(packet if packet.size else None):
                each.stream = copy
                after.mux(each)
    if target == raw:
        return raw
    with av.open(str(raw)) as before, av.open(str(target), "w") as after:
        copy = after.add_stream_from_template(before.streams.video[0])
        for number, packet in enumerate(each for each in before.demux(video=0) if each.size):
            packet.stream, packet.time_base = copy, Fraction(1, 25)
            packet.pts = packet.dts = number
            after.mux(packet)
    return target


@pytest.mark.parametrize("crop", [{"left": 64}, {"top": 16}, {"left": 32, "right": 16, "top": 8, "bottom": 6}])
def test_crop(tmp_path: Path, crop: dict[str, int]) -> None:
    path = encode(tmp_path / "v.h264", panning(2, 96, 128, 1, 0), refs=1)
    (found,) = sequences(extradata_of(with_crop(path, tmp_path / "c.h264", **crop)))
    assert found.crop == h264.Crop(**crop)
    assert found.width == 128
