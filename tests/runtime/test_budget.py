"""A budget becomes a plan: by arithmetic, from costs that are measured once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import street_clip

import arseg_edge
from arseg_edge.errors import FrameError, UsageError
from arseg_edge.runtime import segmenter as segmenters
from arseg_edge.runtime.schedule.budget import Costs, parse_budget, plan

FRAMES = 30
CHEAP_LR = Costs(every=1.0, hr=100.0, moved=1.0, lr=5.0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return street_clip(tmp_path_factory.mktemp("budget") / "street.mp4", FRAMES)


def costing(monkeypatch: pytest.MonkeyPatch, costs: Costs) -> list[bool]:
    """Let everything cost that much; returns for each measurement whether LR was asked for."""
    asked: list[bool] = []

    def measured(*arguments: Any, lookahead: bool, lr: bool) -> Costs:
        asked.append(lr)
        return costs

    monkeypatch.setattr(segmenters, "measure_costs", measured)
    return asked


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("40ms", 40.0), ("25fps", 40.0), ("2.5 ms", 2.5), ("0.5fps", 2000.0)]
)
def test_a_budget_in_either_unit(text: str, milliseconds: float) -> None:
    assert parse_budget(text) == milliseconds


@pytest.mark.parametrize("text", ["40", "ms", "0ms", "0fps", "-1ms", "nanms", "infms", "1e3ms", "40 s", "", 40, None])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(UsageError, match="such as 40ms or 25fps"):
        parse_budget(text)


@pytest.mark.parametrize(
    ("budget", "interval", "met"),
    [
        (200.0, 1, True),  # HR on every frame: 1 + 100
        (101.0, 1, True),
        (100.9, 2, True),  # 1 + 50 + 0.5
        (27.0, 4, True),  # 1 + 25 + 0.75
        (26.7, 5, True),
        (6.2, 24, True),  # 1 + 100 / 24 + 23 / 24 = 6.125
        (6.1, 24, False),
    ],
)
def test_hr_comes_as_often_as_the_budget_allows(budget: float, interval: int, met: bool) -> None:
    chosen = plan(budget, Costs(1.0, 100.0, 1.0), 12, size=(360, 480), lookahead=True)
    assert (chosen.interval, chosen.looks, chosen.met) == (interval, None, met)
    mean = 1 + 100 / interval + (1 - 1 / interval)
    assert chosen.milliseconds == pytest.approx(mean)


def test_what_cannot_be_met_says_what_is_reached() -> None:
    chosen = plan(2.0, Costs(1.0, 100.0, 1.0), 12, size=(360, 480), lookahead=True)
    assert str(chosen) == (
        "budget 2 ms a frame cannot be met, 6.1 ms are reached: HR every 24 frames, by HR 100.0, moved 1.0, "
        "all frames 1.0 ms at 360x480"
    )


def test_lr_looks_where_it_sees_more_for_the_same_time() -> None:
    chosen = plan(14.0, CHEAP_LR, 12, size=(360, 480), lookahead=False)
    # 1 + 100 / 12 + (5 - 1) (1 / 2 - 1 / 12) + 11 / 12 = 11.9; of HR alone, every ninth frame.
    assert (chosen.interval, chosen.looks, chosen.met) == (12, 1, True)
    assert plan(11.5, CHEAP_LR, 12, size=(360, 480), lookahead=False).looks == 3
    # With a future, and where HR alone comes often enough, or LR costs half of it, it does not look.
    assert plan(14.0, CHEAP_LR, 12, size=(360, 480), lookahead=True).looks is None
    assert plan(20.0, CHEAP_LR, 12, size=(360, 480), lookahead=False).looks is None
    assert plan(14.0, Costs(1.0, 100.0, 1.0, 50.0), 12, size=(360, 480), lookahead=False).looks is None


def test_a_stream_keeps_to_the_plan(
    clip: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = costing(monkeypatch, Costs(1.0, 100.0, 1.0))
    with caplog.at_level(logging.INFO), arseg_edge.load(tiny_bundle, budget="27ms", threads=1) as segmenter:
        assert segmenter.plans == ()
        first, again = ([each.branch for each in segmenter.stream(clip)] for _ in range(2))
        assert first == again
        assert [index for index, branch in enumerate(first) if branch == "hr"] == list(range(0, FRAMES, 4))
        (chosen,) = segmenter.plans
        assert (chosen.interval, chosen.met, chosen.lookahead) == (4, True, True)
    assert asked == [False]  # once, and not LR, which does not look where there is a future
    assert [record.getMessage() for record in caplog.records] == [str(chosen)]


def test_a_live_stream_may_look_with_lr(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, clip: Path) -> None:
    asked = costing(monkeypatch, CHEAP_LR)
    with arseg_edge.load(tiny_bundle, budget="14ms", lookahead=False, threads=1) as segmenter:
        branches = [each.branch for each in segmenter.stream(clip)]
        (chosen,) = segmenter.plans
    assert asked == [True]
    assert (chosen.interval, chosen.looks) == (12, 1)
    assert [index for index, branch in enumerate(branches) if branch == "hr"] == [0, 12, 24]


def test_a_budget_that_cannot_be_met_is_a_warning(
    clip: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    costing(monkeypatch, Costs(1.0, 100.0, 1.0))
    with arseg_edge.load(tiny_bundle, budget="1000fps", threads=1) as segmenter:
        assert sum(1 for _ in segmenter.stream(clip)) == FRAMES
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "cannot be met" in record.getMessage()


@pytest.mark.parametrize("lookahead", [True, False])
def test_costs_are_measured(clip: Path, tiny_bundle: Path, lookahead: bool) -> None:
    with arseg_edge.load(tiny_bundle, budget="25fps", lookahead=lookahead, threads=1) as segmenter:
        assert sum(1 for _ in segmenter.stream(clip)) == FRAMES
        costs = segmenter.plans[0].costs
    assert costs.every > 0
    assert costs.hr > 0
    assert costs.moved > 0
    assert (costs.lr is None) == lookahead
    assert costs.lr is None or costs.lr > costs.moved


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_frames_are_enough(tiny_bundle: Path, count: int) -> None:
    pictures = [np.full((96, 128, 3), 40 * number, np.uint8) for number in range(count)]
    with arseg_edge.load(tiny_bundle, budget="25fps", threads=1) as segmenter:
        assert [each.index for each in segmenter.stream(pictures)] == list(range(count))
        assert len(segmenter.plans) == 1


def test_frames_before_a_failure_come_first(tiny_bundle: Path) -> None:
    def pictures() -> Iterator[np.ndarray[Any, Any]]:
        for _ in range(3):
            yield np.zeros((96, 128, 3), np.uint8)
        yield np.zeros((96, 128), np.uint8)

    with arseg_edge.load(tiny_bundle, budget="25fps", threads=1) as segmenter:
        stream = segmenter.stream(pictures())
        assert [next(stream).index for _ in range(3)] == [0, 1, 2]
        with pytest.raises(FrameError):
            next(stream)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"schedule": "paper"}, "budget 40ms: the paper's schedule has a fixed interval"),
        ({"interval": 6}, "both budget 40ms and interval 6"),
        ({"lr_every": 3}, "both budget 40ms and lr_every 3"),
    ],
)
def test_what_does_not_go_with_a_budget(tiny_bundle: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        arseg_edge.load(tiny_bundle, budget="40ms", **settings)


def test_a_tolerance_calls_for_more_on_top(clip: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costing(monkeypatch, Costs(1.0, 100.0, 1.0))
    shares = []
    for settings in ({}, {"tolerance": 0.0}):
        with arseg_edge.load(tiny_bundle, budget="12ms", threads=1, **settings) as segmenter:
            shares.append(sum(each.branch == "hr" for each in segmenter.stream(clip)))
    assert shares[0] == 1 + (FRAMES - 1) // 10
    assert shares[1] > shares[0]
