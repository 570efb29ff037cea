"""What bench reports: all ways are there, and its figures follow from one another. No test asserts a time."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import cv2
import pytest
from clips import street_clip
from streams import encode, panning

from arseg_edge.bundle import read_bundle
from arseg_edge.errors import SourceError
from arseg_edge.runtime import native
from arseg_edge.runtime.reports.bench import BenchReport, run_bench
from arseg_edge.runtime.reports.first_frames import FirstFrames
from arseg_edge.runtime.source.open_source import open_source

DATA = Path(__file__).parent.parent / "data"
WAYS = [
    "hr bare",
    "hr",
    "hr-every-3-one-side",
    "hr-every-4-one-side",
    "paper",
    "adaptive-live",
    "adaptive-live-lr",
    "adaptive-file",
]


def bench(video: Path, name: str = "tiny.arseg", *, interval: int | None = 4, frames: int | None = None) -> BenchReport:
    return run_bench(read_bundle(DATA / name), str(video), threads=1, rounds=2, interval=interval, frames=frames)


def check(report: BenchReport) -> None:
    """What must hold whatever the machine."""
    bare = report.end_to_end["hr bare"]
    for timing in (*report.end_to_end.values(), *report.alone.values()):
        assert 0 < timing.lower <= timing.median <= timing.upper
    for way in report.end_to_end.values():
        assert way.ratio == pytest.approx(bare.median / way.median)
        assert sum(way.branches.values()) == pytest.approx(1)
    assert bare.ratio == 1
    assert bare.branches == report.end_to_end["hr"].branches == {"hr": 1}
    paper = report.end_to_end["paper"]
    assert set(paper.branches) == {"hr", "lr"}
    keyframes, t_lr = paper.branches["hr"], report.alone["lr network"].median
    assert report.bound == pytest.approx(1 / (keyframes + (1 - keyframes) * t_lr / bare.median))
    assert report.share_of_bound == pytest.approx(paper.ratio / report.bound)
    assert 0 <= report.exposed < 1
    for cost in report.moved.values():
        assert cost.following > 0
        assert cost.moving > 0
        assert cost.ratio_with_vectors is not None
        assert cost.ratio_with_vectors * cost.decoding_with_vectors == pytest.approx(cost.following + cost.moving)
        if cost.decoding is not None:
            assert cost.ratio is not None
            assert cost.ratio * cost.decoding == pytest.approx(cost.beyond_decoding)
            assert cost.beyond_decoding - cost.following - cost.moving == pytest.approx(
                cost.decoding_with_vectors - cost.decoding
            )
    assert report.peak_megabytes > 20
    assert report.peak_megabytes_live > 20


@pytest.mark.parametrize("bundle", ["tiny.arseg", "tiny-format1.arseg"])
@pytest.mark.filterwarnings("ignore:a bundle of format 1")
def test_all_ways_are_there(tmp_path: Path, bundle: str) -> None:
    report = bench(street_clip(tmp_path / "street.mp4", 20), bundle)
    check(report)
    assert list(report.end_to_end) == [*WAYS, *["paper bodies"] * report.native]
    assert report.native == (native.library_path() is not None)
    assert report.frames == 16
    ways = report.end_to_end
    assert ways["hr-every-3-one-side"].branches == {"hr": 6 / 16, "moved": 10 / 16}
    assert ways["hr-every-4-one-side"].branches == {"hr": 4 / 16, "moved": 12 / 16}
    assert set(ways["adaptive-live"].branches) == {"hr", "moved"}
    assert set(ways["adaptive-live-lr"].branches) == {"hr", "lr", "moved"}
    assert set(ways["adaptive-file"].branches) == {"hr", "moved"}
    assert set(report.moved) == {"adaptive-live", "adaptive-file"}
    assert report.moved["adaptive-file"].decoding is not None
    assert set(report.stages["adaptive-file"]) == {"decode", "motion", "convert", "hr", "moved"}
    assert set(report.stages["paper"]) == {"decode", "motion", "convert", "hr", "lr"}
    # Four groups of four pictures in 4:2:0, each with one in RGB, and one group's labels.
    assert report.lookahead_megabytes == pytest.approx((4 * (4 * 1.5 + 3) + 4) * 360 * 480 / 1e6)


@pytest.mark.parametrize("frames", [2, 3, 7])
def test_a_video_shorter_than_an_interval(tmp_path: Path, frames: int) -> None:
    report = bench(street_clip(tmp_path / "short.mp4", frames), interval=12)
    check(report)
    assert report.frames == frames
    assert report.end_to_end["paper"].branches["hr"] == pytest.approx(1 / frames)


def test_the_bundle_s_own_interval(tmp_path: Path) -> None:
    report = bench(street_clip(tmp_path / "street.mp4", 13), interval=None)
    check(report)
    assert report.interval == 12
    assert report.end_to_end["paper"].branches["hr"] == pytest.approx(2 / 13)
    # Without a future HR comes twice as often, and where the tolerance asks for it.
    assert report.end_to_end["adaptive-live"].branches["hr"] >= 3 / 13 - 1e-6


def test_as_many_frames_as_are_asked_for(tmp_path: Path) -> None:
    assert bench(street_clip(tmp_path / "street.mp4", 20), frames=9).frames == 9


def test_one_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"one\.mp4: a single frame"):
        bench(street_clip(tmp_path / "one.mp4", 1))


def test_pictures_have_no_plain_decoding(tmp_path: Path) -> None:
    for index, picture in enumerate(panning(9, 64, 96, 2, 0)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture)
    report = bench(tmp_path)
    check(report)
    assert [cost.decoding for cost in report.moved.values()] == [None, None]
    assert report.moved["adaptive-file"].facts()["ratio"] is None


def test_where_nothing_can_be_followed_nothing_is_moved(tmp_path: Path) -> None:
    """Each frame is a scene of its own."""
    scenes = list(itertools.chain.from_iterable(panning(1, 64, 96, 0, 0, seed=seed) for seed in range(8)))
    report = bench(encode(tmp_path / "cuts.mp4", scenes, gop=1))
    assert all(list(way.branches) == ["hr"] for way in report.end_to_end.values())
    assert report.moved == {}
    assert math.isfinite(report.bound)


def test_first_frames_end_a_source(tmp_path: Path) -> None:
    path = street_clip(tmp_path / "street.mp4", 8)
    with FirstFrames(open_source(path), 5) as source:
        assert [frame.index for frame in source.frames()] == [0, 1, 2, 3, 4]
        assert (source.height, source.width, source.files) == (360, 480, (path,))
    with FirstFrames(open_source(path), 50) as source:
        assert len(list(source.frames())) == 8


def test_facts_of_a_moved_frame_are_all_of_it(tmp_path: Path) -> None:
    cost = bench(street_clip(tmp_path / "street.mp4", 9)).moved["adaptive-file"]
    assert set(cost.facts()) == {each.name for each in dataclasses.fields(cost)} | {
        "beyond_decoding",
        "ratio",
        "ratio_with_vectors",
    }
