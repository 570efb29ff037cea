"""A live source that is read too slowly: what is left out, what is given, and how that is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.packet import Packet
from av.video.stream import VideoStream
from servers import udp_sender
from streams import encode, panning

from arseg_edge.runtime.read_motion import motion_frames
from arseg_edge.runtime.source import backlog
from arseg_edge.runtime.source.backlog import CAUGHT_UP, LATE, LONGEST, Backlog, Waited
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.decoded_source import DecodedSource
from arseg_edge.runtime.source.network import NetworkSource
from arseg_edge.runtime.source.track import read_packets, video_track

COUNT = 40
HEIGHT, WIDTH = 96, 128
PICTURES = panning(COUNT, HEIGHT, WIDTH, 2, 1)


# What is taken next


def packet(arrived: float, *, random_access: bool = False) -> Packet[VideoStream]:
    made: Packet[VideoStream] = Packet(b"x")
    made.opaque, made.is_keyframe = arrived, random_access
    return made


def waiting(*arrived: float, live: bool = True) -> Backlog:
    """Packets that no other is predicted from but the first."""
    made = Backlog()
    made.live = live
    for each in arrived:
        made.put(packet(each, random_access=each == arrived[0]))
    return made


def taken(packets: Backlog, now: float) -> tuple[float, int, bool]:
    waited = packets.take(now)
    return float(waited.packet.opaque), waited.skipped, waited.late


def test_what_is_taken_in_time_is_all_given() -> None:
    packets = waiting(1.0, 1.5, 1.9)
    assert [taken(packets, 2.0 - 0.001) for _ in range(3)] == [(1.0, 0, False), (1.5, 0, False), (1.9, 0, False)]


def test_a_random_access_point_takes_the_place_of_what_waited_too_long() -> None:
    packets = waiting(1.0, 1.5)
    packets.put(packet(1.0 + LATE, random_access=True))  # not too long yet
    packets.put(packet(1.1 + LATE))
    packets.put(packet(1.2 + LATE, random_access=True))
    packets.put(packet(1.3 + LATE))
    assert taken(packets, 1.3 + LATE) == (1.2 + LATE, 4, False)
    assert taken(packets, 1.3 + LATE) == (1.3 + LATE, 0, False)
    assert len(packets) == 0


def test_without_one_pictures_are_left_out_until_it_has_caught_up() -> None:
    now = 10.0
    packets = waiting(*(now - LATE - 0.5 + 0.25 * step for step in range(7)))
    first = [taken(packets, now)[2] for _ in range(7)]
    # The first is given all the same; those that have waited for less than LATE are late until it has caught up.
    assert first == [False, True, True, True, True, True, CAUGHT_UP <= 0]
    packets.put(packet(now - 2 * CAUGHT_UP))
    assert taken(packets, now)[2] is False


def test_one_picture_in_a_while_is_given_all_the_same() -> None:
    packets = waiting(*(0.01 * step for step in range(100)))
    lates = [taken(packets, 5.0 + 0.1 * step)[2] for step in range(100)]
    given = [step for step, late in enumerate(lates) if not late]
    assert given[0] == 0
    assert all(late - early in (10, 11) for early, late in pairwise(given))
    assert len(given) in (9, 10)


def test_a_stream_without_random_access_points_is_cut_off_in_the_end() -> None:
    packets = waiting(0.0, 1.0, LONGEST)
    packets.put(packet(LONGEST + 0.1))
    assert taken(packets, LONGEST + 0.1) == (LONGEST + 0.1, 3, False)


def test_what_is_not_live_waits_for_ever() -> None:
    packets = waiting(0.0, 1.0, live=False)
    packets.put(packet(1000.0, random_access=True))
    assert [taken(packets, 2000.0)[1:] for _ in range(3)] == [(0, False)] * 3


# What becomes of the pictures


class Scripted(DecodedSource):
    """A video file that says of its packets what a live source would."""

    live = True

    def __init__(self, path: Path, left_out: Sequence[int] = (), late: Sequence[int] = ()) -> None:
        super().__init__(str(path))
        self._left_out, self._those_late = left_out, late
        self._container = av.open(str(path))
        self._start(video_track(self._container, self.name))

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        skipped = 0
        for number, each in enumerate(read_packets(self._container, self._track.stream)):
            if number in self._left_out:
                skipped += 1
                continue
            self._take(Waited(each, skipped, number in self._those_late))
            skipped = 0
            yield each
        yield None

    def close(self) -> None:
        self._container.close()


def random_access_points(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        packets = [each for each in container.demux(video=0) if each.size]
    return [number for number, each in enumerate(packets) if each.is_keyframe]


def check(frames: list[DecodedFrame], source: DecodedSource) -> None:
    """Every frame is the picture that its number says, and none is unaccounted for."""
    assert source.incidents.counts() == {}
    before = -1
    for frame in frames:
        assert frame.index == before + frame.dropped + 1
        assert frame.discontinuity == (frame.dropped > 0)
        assert cv2.PSNR(frame.rgb, PICTURES[frame.index]) > 28, frame.index
        assert float(frame.pts * frame.time_base) - float(frames[0].pts * frame.time_base) == pytest.approx(
            (frame.index - frames[0].index) / 25, abs=2e-3
        )
        before = frame.index


STREAMS: dict[str, Callable[[Path], Path]] = {
    "no B-frames": lambda path: encode(path / "v.ts", PICTURES, gop=10),
    "closed GOP": lambda path: encode(path / "v.mkv", PICTURES, gop=10, b_frames=3, refs=3),
    "open GOP": lambda path: encode(
        path / "v.ts", PICTURES, gop=10, b_frames=2, refs=3, options={"x264-params": "open-gop=1:scenecut=0"}
    ),
    "HEVC": lambda path: encode(path / "v.mkv", PICTURES, "libx265", gop=10),
    "MPEG-2": lambda path: encode(path / "v.ts", PICTURES, "mpeg2video", gop=10, b_frames=2),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_reading_goes_on_at_a_random_access_point(tmp_path: Path, kind: str) -> None:
    path = STREAMS[kind](tmp_path)
    points = random_access_points(path)
    assert len(points) >= 3
    with Scripted(path, left_out=range(5, points[2])) as source:
        frames = list(source.frames())
    check(frames, source)
    (gap,) = (frame for frame in frames if frame.dropped)
    assert gap.picture_type == "I"
    assert 0 < gap.dropped <= points[2] - 5 + 8
    assert frames[-1].index == COUNT - 1


@pytest.mark.parametrize("kind", STREAMS)
def test_late_pictures_are_decoded_and_left_out(tmp_path: Path, kind: str) -> None:
    path = STREAMS[kind](tmp_path)
    with Scripted(path, late=range(5, 17)) as source:
        frames = list(source.frames())
    check(frames, source)
    assert [frame.dropped for frame in frames if frame.dropped] == [12]
    assert len(frames) == COUNT - 12


def test_a_stream_that_is_cut_off_anywhere(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.ts", PICTURES, gop=1000, options={"x264-params": "intra-refresh=1"})
    with Scripted(path, left_out=range(10, 20)) as source:
        frames = list(source.frames())
    assert [(frame.index, frame.dropped) for frame in frames if frame.discontinuity] == [(20, 10)]
    assert [frame.index for frame in frames] == [*range(10), *range(20, COUNT)]
    assert [frame.corrupt for frame in frames] == [False] * 10 + [True] * (COUNT - 20)


def test_motion_starts_anew_behind_what_is_left_out(tmp_path: Path) -> None:
    path = STREAMS["no B-frames"](tmp_path)
    with Scripted(path, left_out=range(5, 10), late=range(14, 17)) as source:
        frames = list(motion_frames(source, interval=1000))
    starts = [(frame.index, frame.dropped, frame.keyframe_reason) for frame in frames if frame.is_keyframe]
    assert starts[:3] == [(0, 0, "first"), (10, 5, "discontinuity"), (17, 3, "discontinuity")]
    assert all(frame.motion is not None for frame in frames if not frame.is_keyframe)


# Over a network


def test_a_reader_that_is_too_slow_for_a_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "LATE", 0.2)
    monkeypatch.setattr(backlog, "CAUGHT_UP", 0.05)
    clip = encode(tmp_path / "v.ts", PICTURES, gop=10)
    sending = threading.Event()
    sending.set()
    rate = 50 * clip.stat().st_size / COUNT  # fifty frames a second, of which twenty can be read
    with udp_sender(clip.read_bytes(), sending=sending, rate=rate) as address, NetworkSource(address) as source:
        found: list[DecodedFrame] = []
        gaps = 0
        for frame in source.frames():
            found.append(frame)
            gaps += frame.dropped > 0
            if gaps == 3:
                break
            time.sleep(0.05)
    before = -1
    for frame in found:
        assert frame.index == before + frame.dropped + 1
        before = frame.index
    assert all(frame.discontinuity for frame in found if frame.dropped)
    assert (np.diff([frame.pts for frame in found]) > 0).all()


def test_waiting_for_data_is_no_decoding(tmp_path: Path) -> None:
    clip = encode(tmp_path / "v.ts", PICTURES, gop=10)
    sending = threading.Event()
    sending.set()
    with udp_sender(clip.read_bytes(), sending=sending) as address, NetworkSource(address, timeout=60) as source:
        frames = source.timed_frames()
        next(frames)
        before, start = source.waited, time.perf_counter()
        sending.clear()
        threading.Timer(1.0, sending.set).start()
        milliseconds = 0.0
        while source.waited - before < 0.5:
            milliseconds += next(frames)[1]
        # What was waited for is no part of it.
        passed = time.perf_counter() - start
        assert milliseconds / 1e3 + source.waited - before <= passed
