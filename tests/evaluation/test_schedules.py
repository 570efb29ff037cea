"""Schedules side by side: the labels that the deployed runtime gives, without running HR more than once a frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pytest
from clips import street_clip
from numpy.typing import NDArray

from arseg_edge.bundle import read_bundle
from arseg_edge.demo import demo_bundle
from arseg_edge.errors import SourceError
from arseg_edge.evaluation.bundle_predictor import BundlePredictor
from arseg_edge.evaluation.schedules import SideBySide, Tally, row_of
from arseg_edge.results import Result
from arseg_edge.runtime.schedule.adaptive import TiedFrame
from arseg_edge.runtime.schedule.variants import Schedule, schedules
from arseg_edge.runtime.source.open_source import open_source
from arseg_edge.runtime.tied_frames import tied_frames

FRAMES, INTERVAL = 28, 6
OLD = Path(__file__).parents[1] / "data" / "tiny-format1.arseg"

Found = dict[str, dict[int, NDArray[np.uint8]]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return street_clip(tmp_path_factory.mktemp("schedules") / "street.mp4", FRAMES)


def predictor(bundle: Path, size: tuple[int, int] | None = None) -> BundlePredictor:
    return BundlePredictor(read_bundle(bundle), threads=1, size=size)


def replayed(
    network: BundlePredictor, clip: Path, chosen: tuple[Schedule, ...], wanted: Collection[int] | None = None
) -> tuple[Found, tuple[Tally, ...]]:
    found: Found = {each.name: {} for each in chosen}

    def take(tally: Tally, result: Result) -> None:
        assert list(found[tally.schedule.name]) == sorted(found[tally.schedule.name])
        found[tally.schedule.name][result.index] = result.labels

    side_by_side = SideBySide(network, chosen)
    with open_source(clip) as source:
        side_by_side.run(tied_frames(source, "auto"), take, wanted)
    return found, side_by_side.tallies


def deployed(network: BundlePredictor, clip: Path, schedule: Schedule) -> list[Result]:
    return list(network.stream(clip, schedule.interval, **schedule.settings))


@pytest.mark.parametrize(("bundle", "size"), [("tiny", None), ("demo", None), ("tiny", (180, 240)), ("format 1", None)])
def test_labels_are_those_of_the_deployed_stream(
    clip: Path, tiny_bundle: Path, bundle: str, size: tuple[int, int] | None
) -> None:
    network = predictor({"tiny": tiny_bundle, "demo": demo_bundle(), "format 1": OLD}[bundle], size)
    chosen = schedules(INTERVAL)
    found, tallies = replayed(network, clip, chosen)
    for schedule, tally in zip(chosen, tallies, strict=True):
        results = deployed(network, clip, schedule)
        assert tally.frames == Counter(each.branch for each in results)
        assert len(results) == len(found[schedule.name]) == FRAMES
        for each in results:
            np.testing.assert_array_equal(found[schedule.name][each.index], each.labels, schedule.name)
    # Otherwise these would be tests of one schedule alone.
    assert len({tuple(sorted(tally.frames.items())) for tally in tallies}) > 4


def test_every_so_many_frames(clip: Path, tiny_bundle: Path) -> None:
    _, tallies = replayed(predictor(tiny_bundle), clip, schedules(INTERVAL))
    for tally in tallies[:-3]:
        hr = -(-FRAMES // tally.schedule.interval)
        assert tally.frames == {"hr": hr, "moved": FRAMES - hr}


def test_hr_runs_once_a_frame_whoever_looks(clip: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = predictor(tiny_bundle)
    seen: Counter[int] = Counter()
    see = network.see
    monkeypatch.setattr(network, "see", lambda frame: (seen.update([frame.index]), see(frame))[1])
    chosen = tuple(each for each in schedules(INTERVAL) if each.looks is None)
    replayed(network, clip, chosen)
    assert set(seen.values()) == {1}
    assert set(range(0, FRAMES, 2)) | set(range(0, FRAMES, 3)) <= set(seen)
    # What no wanted frame draws on need not be run at all.
    seen.clear()
    replayed(network, clip, chosen, wanted=[13])
    assert min(seen) > 13 - INTERVAL
    assert max(seen) < 13 + INTERVAL


@pytest.mark.parametrize("wanted", [[0], [13], [5, 6, 25], [FRAMES - 1]])
def test_frames_that_are_wanted_are_what_they_are_among_all(clip: Path, tiny_bundle: Path, wanted: list[int]) -> None:
    network = predictor(tiny_bundle)
    chosen = schedules(INTERVAL)
    everything, counted = replayed(network, clip, chosen)
    some, counted_again = replayed(network, clip, chosen, wanted)
    for one, other in zip(counted, counted_again, strict=True):
        assert one.frames == other.frames
    for schedule in chosen:
        assert list(some[schedule.name]) == wanted
        for index, labels in some[schedule.name].items():
            np.testing.assert_array_equal(labels, everything[schedule.name][index])


def test_a_frame_is_forgotten_as_soon_as_nobody_waits_for_it(clip: Path, tiny_bundle: Path) -> None:
    network, chosen = predictor(tiny_bundle), schedules(INTERVAL)
    side_by_side = SideBySide(network, chosen)
    held = []
    with open_source(clip) as source:
        side_by_side.run(tied_frames(source, "auto"), lambda tally, result: held.append(len(side_by_side._seen)))
    assert max(held) <= 4 * INTERVAL
    assert len(side_by_side._seen) == 0


def test_a_failure_of_the_source_comes_through(clip: Path, tiny_bundle: Path) -> None:
    def failing() -> Iterator[TiedFrame]:
        with open_source(clip) as source:
            for tied in tied_frames(source, "auto"):
                if tied.decoded.index == 9:
                    raise SourceError("the disk is gone")
                yield tied

    side_by_side = SideBySide(predictor(tiny_bundle), schedules(INTERVAL))
    with pytest.raises(SourceError, match="the disk is gone"):
        side_by_side.run(failing(), lambda tally, result: None)


def test_only_intervals_that_fit() -> None:
    assert [each.interval for each in schedules(5)] == [2, 3, 4, 2, 3, 4, 5, 2, 3]
    assert [each.interval for each in schedules(4, 4)] == [2, 3, 4, 2, 3, 4, 4, 4, 4]
    assert [each.interval for each in schedules(2)] == [2, 2, 2, 1, 1]


def test_arithmetic_counts_networks_alone(tiny_bundle: Path) -> None:
    network = predictor(tiny_bundle)
    (schedule,) = (each for each in schedules(INTERVAL) if each.looks is not None)
    tally = Tally(schedule, Counter({"hr": 1, "lr": 2, "moved": 5}), SideBySide(network, [schedule]).tallies[0].scores)
    row = row_of(tally, network.macs, 0.5, lambda scores: 0.0)
    assert row.branches == (1 / 8, 2 / 8, 5 / 8)
    macs = network.macs
    assert row.arithmetic == pytest.approx((macs.hr + 2 * (macs.lr["0.5"] + macs.creff)) / (8 * macs.hr))
