"""Each condition of ``reference_order`` proven by a stream that breaks it, whose true motion is known."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from servers import http_server
from streams import Image, encode, panning, texture
from test_h264 import with_crop

from arseg_edge.operators import Chaining
from arseg_edge.runtime.motion.follow import MotionMode
from arseg_edge.runtime.read_motion import MotionFrame, read_motion
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.network import NetworkSource
from arseg_edge.runtime.source.open_source import open_source
from arseg_edge.runtime.source.reference_order import CodedOrder

STREAMS = Path(__file__).parents[1] / "data" / "streams"
WAYS: list[tuple[MotionMode, Chaining]] = [
    ("bitstream", "published"),
    ("bitstream", "subpixel"),
    ("auto", "published"),
    ("auto", "subpixel"),
]
Box = Callable[[int], tuple[int, int, int, int]]
"""Of a frame's index: x, y, width and height of the square."""


def read(path: Path) -> list[DecodedFrame]:
    with open_source(path) as source:
        return list(source.frames())


def square_right(frames: list[MotionFrame], box: Box, margin: int = 8) -> list[float]:
    """Of the frames with motion, the share of the square's inner pixels with the square's displacement."""
    shares, keyframe = [], 0
    height, width = frames[0].rgb.shape[:2]
    x, y, *_ = box(0)
    assert 0 <= x < width
    assert 0 <= y < height
    for frame in frames:
        x, y, width, height = box(frame.index)
        if frame.motion is None:
            keyframe = frame.index
            continue
        inside = frame.motion[y + margin : y + height - margin, x + margin : x + width - margin]
        x0, y0, _, _ = box(keyframe)
        shares.append(float((np.abs(inside - (x0 - x, y0 - y)).max(axis=-1) <= 1).mean()))
    return shares


# 3. A droppable picture is a reference for none


@pytest.mark.parametrize("interval", [12, 5])  # with 5, keyframes are droppable pictures, too
@pytest.mark.parametrize(("motion", "chaining"), WAYS)
def test_vectors_reach_over_droppable_pictures(motion: MotionMode, chaining: Chaining, interval: int) -> None:
    frames = list(read_motion(STREAMS / "droppable-p.mp4", interval, chaining, motion))
    assert [frame.index for frame in frames if frame.is_keyframe] == list(range(0, 24, interval))
    # The encoder's own blocks are wrong at the square's upper and left edges.
    shares = square_right(frames, lambda index: (20 + 6 * index, 96, 64, 64))
    assert min(shares) > (0.9 if (motion, chaining) == ("auto", "subpixel") else 0.65)


@pytest.mark.parametrize("motion", ["bitstream", "auto"])
def test_the_chain_over_droppable_pictures_is_its_twin(motion: MotionMode) -> None:
    """Whole pixels, chained by NumPy: even frames refer two frames back, odd ones to the frame before."""
    frames = list(read_motion(STREAMS / "droppable-p.mp4", 12, "published", motion))
    y, x = np.mgrid[:288, :384]
    known = {0: np.stack([x, y], axis=-1)}
    for frame in frames[1:12]:
        steps = np.zeros((288, 384, 2), int)
        assert frame.decoded.vectors is not None
        for record in frame.decoded.vectors:
            w, h = int(record["w"]), int(record["h"])
            left, top = int(record["dst_x"]) - w // 2, int(record["dst_y"]) - h // 2
            vector = record["motion_x"] / record["motion_scale"], record["motion_y"] / record["motion_scale"]
            steps[top : top + h, left : left + w] = np.rint(vector)
        reference = known[frame.index - 1 if frame.index % 2 else frame.index - 2]
        places_x, places_y = np.clip(x + steps[..., 0], 0, 383), np.clip(y + steps[..., 1], 0, 287)
        known[frame.index] = reference[places_y, places_x]
        np.testing.assert_array_equal(frame.motion, known[frame.index] - known[0])


def test_droppable_pictures_are_told() -> None:
    frames = read(STREAMS / "droppable-p.mp4")
    assert [frame.droppable for frame in frames] == [index % 2 == 1 for index in range(24)]
    assert [frame.reference for frame in frames] == [None, *[1, 2] * 11, 1]


def test_disposable_pictures_of_flv(tmp_path: Path) -> None:
    """A P-frame of FLV1 that says it is one that no other is predicted from; the encoder knows no such pictures."""
    pictures = panning(8, 96, 128, 2, 1)
    path = encode(tmp_path / "v.flv", pictures, "flv", gop=250)
    with av.open(str(path)) as container:
        payloads = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    order = CodedOrder("flv", None, 1)
    for number, payload in enumerate(payloads):
        # 17 bits of start code, 5 of format, 8 of number, 3 of size (and 16 or 32 of a free size), 2 of type
        bits = "".join(f"{byte:08b}" for byte in payload)
        at = 33 + {"000": 16, "001": 32}.get(bits[30:33], 0)
        assert bits[at : at + 2] == ("01" if number else "00")
        assert not order.take(av.Packet(payload)).droppable
        disposable = bits[:at] + "10" + bits[at + 2 :]
        changed = bytes(int(disposable[each : each + 8], 2) for each in range(0, len(disposable), 8))
        assert order.take(av.Packet(changed)).droppable
    assert [frame.reference for frame in read(path)] == [None, *[1] * 7]


# 2. The active parameter set


@pytest.mark.parametrize(("motion", "chaining"), WAYS)
def test_references_that_change_in_mid_stream(motion: MotionMode, chaining: Chaining) -> None:
    frames = list(read_motion(STREAMS / "references-change.ts", 12, chaining, motion, None))
    assert len(frames) == 48
    places = [16 + (6 if index % 2 else 0) + index // 2 for index in range(24)] * 2
    keyframe, wrong = 0, []
    for frame in frames:
        if frame.motion is None:
            keyframe = frame.index
            continue
        found = frame.motion[24:-24, 32:-32] - (places[frame.index] - places[keyframe], 0)
        wrong.append(float((np.abs(found).max(axis=-1) > 1).mean()))
    assert np.mean(wrong[: len(wrong) // 2]) < 0.05
    assert np.mean(wrong[len(wrong) // 2 :]) < 0.05


def test_sure_references_follow_the_active_parameter_set() -> None:
    frames = read(STREAMS / "references-change.ts")
    assert [frame.reference for frame in frames[:24]] == [None, *[1] * 23]
    assert [frame.reference for frame in frames[24:]] == [None, 1, *[None] * 22]


def test_a_source_says_the_most_references_so_far() -> None:
    with open_source(STREAMS / "references-change.ts") as source:
        assert source.references == 1
        list(source.frames())
        assert source.references == 4


@pytest.mark.parametrize("suffix", ["mp4", "ts", "h264"])
@pytest.mark.parametrize(
    ("settings", "reference"),
    [({}, 1), ({"refs": 3}, None), ({"b_frames": 2}, None), ({"options": {"x264-params": "slices=4"}}, 1)],
)
def test_what_is_sure(tmp_path: Path, suffix: str, settings: dict[str, Any], reference: int | None) -> None:
    frames = read(encode(tmp_path / f"v.{suffix}", panning(10, 96, 128, 2, 1), gop=250, **settings))
    assert {frame.reference for frame in frames[3:]} == {reference}


@pytest.mark.parametrize("codec", ["libx265", "libvpx-vp9"])
def test_nothing_is_sure_without_vectors(tmp_path: Path, codec: str) -> None:
    frames = read(encode(tmp_path / "v.mkv", panning(5, 96, 128, 2, 1), codec))
    assert {frame.reference for frame in frames} == {None}


def test_a_source_that_comes_back_with_other_parameters(tmp_path: Path) -> None:
    """A camera that reconnects with more references and another size, and then as it was."""
    first = encode(tmp_path / "1.ts", panning(10, 96, 128, 2, 1), gop=250).read_bytes()
    second = encode(tmp_path / "2.ts", panning(10, 144, 176, 2, 1), gop=250, refs=4).read_bytes()
    contents = iter([first, second, first])

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(next(contents))

    with http_server(answer) as address, NetworkSource(f"{address}/v.ts", timeout=10, pauses=(0.01,)) as source:
        frames = list(islice(source.frames(), 30))
        assert source.incidents.counts() == {"resized": 2}
    assert [frame.width for frame in frames] == [*[128] * 10, *[176] * 10, *[128] * 10]
    assert [frame.references for frame in frames] == [*[1] * 10, *[4] * 10, *[1] * 10]
    once = [None, *[1] * 9]
    assert [frame.reference for frame in frames] == [*once, None, 1, *[None] * 8, *once]


# Cropping


@pytest.mark.parametrize("name", ["crop-none.mp4", "crop-left-64.mp4"])
@pytest.mark.parametrize(("motion", "chaining"), WAYS)
def test_vectors_lie_on_the_cropped_picture(name: str, motion: MotionMode, chaining: Chaining) -> None:
    left = 64 if "left" in name else 0
    frames = list(read_motion(STREAMS / name, 12, chaining, motion))
    assert len(frames) == 12
    shares = square_right(frames, lambda index: (160 + 4 * index - left, 128, 64, 64))
    assert min(shares) > 0.9


@pytest.mark.parametrize("crop", [{"top": 32}, {"left": 16}, {"left": 64, "top": 20, "right": 32}, {"top": 4}])
@pytest.mark.parametrize("suffix", ["ts", "h264"])
def test_other_crops(tmp_path: Path, crop: dict[str, int], suffix: str) -> None:
    whole = tmp_path / "whole.h264"
    pictures = [square(index) for index in range(8)]
    encode(whole, pictures, gop=250)
    path = with_crop(whole, tmp_path / f"c.{suffix}", **crop)
    frames = list(read_motion(path, 12, "published", "bitstream"))
    assert len(frames) == 8
    # On the left FFmpeg crops no more than keeps its memory aligned.
    left = 192 - crop.get("right", 0) - frames[0].rgb.shape[1]
    top = 144 - frames[0].rgb.shape[0]
    assert top == crop.get("top", 0)
    assert left in (0, crop.get("left", 0))
    assert cv2.PSNR(frames[3].rgb, np.ascontiguousarray(pictures[3][top:, left : 192 - crop.get("right", 0)])) > 30
    shares = square_right(frames, lambda index: (64 + 4 * index - left, 48 - top, 64, 64))
    assert min(shares) > 0.9


def square(index: int) -> Image:
    """A textured square that crosses a still texture."""
    picture = texture(144, 192)
    picture[48:112, 64 + 4 * index : 128 + 4 * index] = texture(64, 64, 1)
    return picture


# 4. Hidden pictures


@pytest.mark.parametrize(("motion", "chaining"), WAYS)
def test_hidden_frames_break_the_chain(motion: MotionMode, chaining: Chaining) -> None:
    frames = list(read_motion(STREAMS / "edit-list-hidden-4.mp4", 12, chaining, motion))
    assert len(frames) == 26
    assert {frame.index: frame.keyframe_reason for frame in frames if frame.is_keyframe} == {
        0: "first",
        10: "discontinuity",
        22: "interval",
    }
    shares = square_right(frames, lambda index: (40 + 4 * (index if index < 10 else index + 4), 96, 160, 160))
    assert min(shares) > 0.9


def test_hidden_frames_are_counted_once() -> None:
    with open_source(STREAMS / "edit-list-hidden-4.mp4") as source:
        list(source.frames())
        assert source.incidents.counts() == {"hidden": 4}
