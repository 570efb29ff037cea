"""Steady times from wrong ones: by the rule, and with streams that broke."""

from __future__ import annotations

import io
import itertools
import json
import logging
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from streams import as_frame, encode, panning, texture

import arseg_edge
from arseg_edge.runtime.sinks import JsonLinesSink, OverlaySink
from arseg_edge.runtime.source.clock import Clock, StreamTimes
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.incidents import Incidents
from arseg_edge.runtime.source.open_source import SourceLike, open_source

STREAMS = Path(__file__).parents[1] / "data" / "streams"
MS = Fraction(1, 1000)
PICTURE = np.zeros((2, 2, 3), np.uint8)


def frames(times: Iterable[int | None], arrivals: Sequence[float] | None = None) -> list[DecodedFrame]:
    return [
        DecodedFrame(*(index, 0, MS, PICTURE), stream_pts=time, arrived=None if arrivals is None else arrivals[index])
        for index, time in enumerate(times)
    ]


def steady(
    times: Iterable[int | None], arrivals: Sequence[float] | None = None, **kind: Any
) -> tuple[list[int], dict[str, int]]:
    """The steady times in ms, of a stream of nominally 25 frames/s, and what was counted."""
    incidents = Incidents()
    clock = Clock("s", MS, Fraction(25), incidents, **kind)
    given = list(clock.steady(frames(times, arrivals)))
    assert [frame.index for frame in given] == list(range(len(given)))
    return [frame.pts for frame in given], {str(kind): count for kind, count in incidents.counts().items()}


def every(step: int, count: int, start: int = 0) -> list[int]:
    return [start + step * index for index in range(count)]


HOUR = 3_600_000
DAY = 24 * HOUR


@pytest.mark.parametrize("kind", [{}, {"jumps": True}, {"live": True}, {"from_first": True}])
@pytest.mark.parametrize("wrong", [37_600_000, -500, 10_001, -1])
@pytest.mark.parametrize("at", [3, 9, 18])
def test_an_outlier_is_ignored(kind: dict[str, bool], wrong: int, at: int) -> None:
    times = every(40, 20)
    times[at] += wrong if abs(wrong) > 1 else -41
    arrivals = [index * 0.04 for index in range(20)]
    assert steady(times, arrivals, **kind) == (every(40, 20), {"outliers": 1})


@pytest.mark.parametrize("jumps", [False, True])
@pytest.mark.parametrize("wrong", [HOUR, 40_000, 100])
def test_a_first_time_that_is_wrong_shifts_nothing(jumps: bool, wrong: int) -> None:
    assert steady([wrong, *every(40, 10, 40)], jumps=jumps) == (every(40, 11), {"outliers": 1})


def test_a_second_time_that_is_wrong() -> None:
    assert steady([0, HOUR, 80, 120, 160], jumps=True) == (every(40, 5), {"outliers": 1})
    assert steady([0, HOUR, 80, 120, 160]) == (every(40, 5), {"outliers": 1})


def test_outliers_between_frames_of_variable_rate_come_in_order() -> None:
    times = [0, 40, 80, 120, 160, HOUR, 170, 210]
    assert steady(times) == ([0, 40, 80, 120, 160, 165, 170, 210], {"outliers": 1})


@pytest.mark.parametrize("kind", [{"jumps": True}, {"live": True}])
@pytest.mark.parametrize("jump", [1_800_000, -200, -HOUR, 10_040])
def test_a_lasting_jump_is_joined(kind: dict[str, bool], jump: int) -> None:
    times = every(40, 10) + every(40, 10, 400 + jump)
    arrivals = [index * 0.04 for index in range(20)]
    assert steady(times, arrivals, **kind) == (every(40, 20), {"joined": 1})


@pytest.mark.parametrize("jump", [-200, -HOUR, 40 * HOUR])
def test_jumps_that_no_container_can_mean_are_joined(jump: int) -> None:
    assert steady(every(40, 10) + every(40, 10, 400 + jump)) == (every(40, 20), {"joined": 1})


def test_pieces_shorter_than_a_second_go_on_by_their_own_step() -> None:
    # Nominally 25 frames a second, in truth 10.
    pieces = every(100, 5) + every(100, 4) + every(100, 6)
    assert steady(pieces) == (every(100, 15), {"joined": 2})


def test_a_join_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    steady(every(40, 5) + every(40, 5, HOUR) + every(40, 5, 5 * HOUR), jumps=True)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("s: its time jumps by 3599.840 s and stays there")


@pytest.mark.parametrize("pause", [500, 9_000, 60_000, HOUR, DAY])
def test_a_pause_of_a_variable_rate_is_kept(pause: int) -> None:
    times = every(40, 5) + every(40, 5, 160 + pause)
    assert steady(times) == (times, {})
    # At the end, as screen recorders write the last picture once more; and right behind the first.
    assert steady([0, 40, 80, 80 + pause]) == ([0, 40, 80, 80 + pause], {})
    assert steady([0, pause, pause + 40]) == ([0, pause, pause + 40], {})


@pytest.mark.parametrize("pause", [20, 3600])
def test_a_pause_of_a_live_source_is_kept_where_the_clock_on_the_wall_went_on(pause: int) -> None:
    times = every(40, 5) + every(40, 5, 160 + pause * 1000)
    arrivals = [time / 1000 for time in times]
    assert steady(times, arrivals, live=True) == (times, {})
    assert steady(times, [index * 0.04 for index in range(10)], live=True) == (every(40, 10), {"joined": 1})


def test_a_live_source_holds_nothing_back() -> None:
    given: list[int] = []

    def coming() -> Iterable[DecodedFrame]:
        for frame in frames([0, 40, HOUR, 120, 0, 40], [0, 0.04, 0.08, 0.12, 0.16, 0.2]):
            assert len(given) == frame.index
            yield frame

    for frame in Clock("s", MS, Fraction(25), Incidents(), live=True).steady(coming()):
        given.append(frame.pts)
    assert given == every(40, 6)


def test_missing_times_are_filled_in() -> None:
    assert steady([None] * 5) == (every(40, 5), {})
    assert steady([1000, None, None, 1120, 1160]) == ([1000, 1040, 1080, 1120, 1160], {})
    assert steady([None, None, 5000, 5040]) == ([0, 40, 5000, 5040], {})


def test_restart_after_a_known_time() -> None:
    clock = Clock("s", MS, Fraction(25), Incidents(), live=True)

    def coming() -> Iterable[DecodedFrame]:
        given = frames([0, 40, 7, 47], [0.0] * 4)
        yield from given[:2]
        clock.restart(3)
        yield from given[2:]

    assert [frame.pts for frame in clock.steady(coming())] == [0, 40, 3040, 3080]


def test_any_times_at_all_become_steady() -> None:
    random = np.random.default_rng(1)
    for _ in range(300):
        times: list[int | None] = np.cumsum(random.choice([0, 1, 40, 40, 40, -40, 20_000, -20_000, HOUR], 40)).tolist()
        for index in random.integers(0, 40, 3):
            times[index] = None
        for kind in ({}, {"jumps": True}, {"live": True}, {"from_first": True}):
            given, counts = steady(times, [index * 0.04 for index in range(40)], **kind)
            assert len(given) == 40
            assert (np.diff(given) > 0).all()
            assert set(counts) <= {"outliers", "joined"}


# Streams


def read(source: SourceLike) -> tuple[list[DecodedFrame], dict[str, int], Fraction | None]:
    """Frames, what was counted of their times, and the rate."""
    with open_source(source) as opened:
        given = list(opened.frames())
        counts = {str(kind): count for kind, count in opened.incidents.counts().items()}
        return given, {kind: counts[kind] for kind in counts if kind in ("joined", "outliers")}, opened.frame_rate


def steps(given: list[DecodedFrame]) -> set[Fraction]:
    return {(two.pts - one.pts) * one.time_base for one, two in itertools.pairwise(given)}


def test_a_recording_with_outliers() -> None:
    given, counts, _ = read(STREAMS / "time-outliers.ts")
    assert (len(given), steps(given), counts) == (40, {Fraction(1, 25)}, {"outliers": 3})
    assert given[0].time == given[0].stream_time == 20_000  # the stream's own start
    assert given[10].time == pytest.approx(20_000.4)
    assert given[10].stream_time == pytest.approx(20_000.4 + 37_600)


def test_joined_recordings() -> None:
    given, counts, _ = read(STREAMS / "time-join.ts")
    assert (len(given), steps(given), counts) == (80, {Fraction(1, 25)}, {"joined": 1})
    assert given[40].stream_time == pytest.approx(1800)
    assert given[40].time == pytest.approx(1.6)


def test_avi_with_b_frames() -> None:
    given, counts, rate = read(STREAMS / "b-frames.avi")
    assert (len(given), steps(given), counts, rate) == (30, {Fraction(1, 10)}, {}, 10)


def test_an_elementary_stream_has_the_rate_that_it_says() -> None:
    given, counts, rate = read(STREAMS / "raw-10fps.h264")
    assert (len(given), steps(given), counts, rate) == (30, {Fraction(1, 10)}, {}, 10)
    assert {frame.stream_pts for frame in given} == {None}


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "h264"), ("libx265", "hevc")])
@pytest.mark.parametrize("rate", [10, Fraction(30000, 1001)])
def test_elementary_streams(tmp_path: Path, codec: str, suffix: str, rate: Fraction | int) -> None:
    path = encode(tmp_path / f"v.{suffix}", panning(8, 64, 64, 1, 0), codec, rate=rate)
    given, _, told = read(path)
    assert told == rate
    assert given[-1].time == pytest.approx(float(7 / Fraction(rate)), abs=1e-4)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_a_long_pause_in_a_file_is_kept(tmp_path: Path, suffix: str) -> None:
    times = [*range(0, 400, 40), *range(95_000, 95_400, 40)]
    path = timed(tmp_path / f"v.{suffix}", times)
    given, counts, _ = read(path)
    assert [round(frame.time * 1000) for frame in given] == times
    assert [frame.stream_pts for frame in given] == [frame.pts for frame in given]
    assert counts == {}


def timed(path: Path, times: Sequence[int]) -> Path:
    """A video with pictures at these milliseconds."""
    pictures = []
    for time in times:
        picture = as_frame(texture(64, 64))
        picture.pts, picture.time_base = time, MS
        pictures.append(picture)
    return encode(path, pictures, time_base=MS)


def test_pieces_in_a_transport_stream(tmp_path: Path) -> None:
    piece = encode(tmp_path / "v.ts", panning(12, 64, 64, 1, 0)).read_bytes()
    (tmp_path / "joined.ts").write_bytes(piece * 4)
    given, counts, _ = read(tmp_path / "joined.ts")
    assert (len(given), steps(given), counts) == (48, {Fraction(1, 25)}, {"joined": 3})


def test_frames_of_files_with_different_time_bases() -> None:
    pictures = []
    for time, base in [(0, Fraction(1, 25)), (3600, Fraction(1, 90_000)), (80_000, Fraction(1, 1_000_000)), (3, None)]:
        picture = as_frame(texture(16, 16))
        picture.pts = time
        if base is not None:
            picture.time_base = base
        pictures.append(picture)
    given, counts, _ = read(pictures)
    assert [frame.time for frame in given] == [0.0, 0.04, 0.08, 0.12]
    assert [frame.stream_pts for frame in given] == [0, 1, 2, 3]
    assert counts == {}


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(
    ("name", "count", "step"),
    [("time-outliers.ts", 40, 25), ("time-join.ts", 80, 25), ("b-frames.avi", 30, 10), ("raw-10fps.h264", 30, 10)],
)
def test_the_overlay_and_what_is_said_of_frames(
    tmp_path: Path, tiny_bundle: Path, name: str, count: int, step: int, suffix: str
) -> None:
    said = io.StringIO()
    with (
        arseg_edge.load(tiny_bundle) as segmenter,
        open_source(STREAMS / name) as source,
        OverlaySink(tmp_path / f"o.{suffix}", [[0, 0, 0]] * 3, source.frame_rate) as overlay,
    ):
        lines = JsonLinesSink(said, ["a", "b", "c"])
        results = list(segmenter.stream(source))
        for result in results:
            overlay.append(result)
            lines.append(result)
    with av.open(str(tmp_path / f"o.{suffix}")) as container:
        frames = list(container.decode(video=0))
        times = [float(frame.time or 0) for frame in frames]
    assert times == pytest.approx([index / step for index in range(count)], abs=5e-4)
    if suffix == "mp4":
        assert frames[-1].duration * frames[-1].time_base == Fraction(1, step)
    own = [frame.stream_pts for frame in read(STREAMS / name)[0]]
    assert [result.stream_pts for result in results] == own
    for line, result in zip(said.getvalue().splitlines(), results, strict=True):
        record = json.loads(line)
        assert (record["pts"], record["stream_pts"]) == (result.pts, result.stream_pts)
        assert (record["seconds"], record["stream_seconds"]) == (result.time, result.stream_time)


# libavcodec's best effort


class Timed:
    """A picture's two times."""

    def __init__(self, pts: int | None, dts: int | None) -> None:
        self.pts, self.dts = pts, dts


def best_effort(times: Iterable[tuple[int | None, int | None]]) -> list[int | None]:
    of = StreamTimes(reordered=False)
    return [of.of(Timed(*each)) for each in times]  # type: ignore[arg-type]


def test_the_best_effort_is_libavcodecs() -> None:
    # By hand, after guess_correct_pts of libavcodec/decode.c; the first are the times in b-frames.avi.
    assert best_effort([(2, 4), (6, 6), (8, 8), (4, 10), (14, 12), (12, 14), (16, 16)]) == [2, 6, 8, 10, 12, 14, 16]
    assert best_effort([(None, 3), (None, None), (7, None)]) == [3, None, 7]
    assert best_effort([(5, 5), (7, 6), (9, 6)]) == [5, 7, 9]


def test_pictures_without_presentation_times(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.avi", panning(6, 64, 64, 1, 0), "mpeg4")
    with av.open(str(path)) as container:
        times = StreamTimes(reordered=True)
        assert [times.of(picture) for picture in container.decode(video=0)][:5] == [0, 1, 2, 3, 4]
