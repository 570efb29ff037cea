"""The adaptive schedule, on frames of which it is known what each shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
import pytest

from arseg_edge.errors import UsageError
from arseg_edge.runtime.motion.step import Step
from arseg_edge.runtime.schedule.adaptive import BothSides, Group, OneSide, TiedFrame, check_tolerance
from arseg_edge.runtime.schedule.keyframes import KeyframeReason
from arseg_edge.runtime.source.decoded_frame import DecodedFrame

ROWS, COLUMNS = 10, 20
STILL = np.zeros((ROWS, COLUMNS, 2), np.float32)
PICTURE = np.zeros((8 * ROWS, 8 * COLUMNS, 3), np.uint8)


def frames(shown: Sequence[int], broken: dict[int, KeyframeReason] | None = None) -> list[TiedFrame]:
    """A camera that stands still; in the left ``shown[t]`` columns of frame t stands what frame 0 does not show."""
    found = []
    for index, columns in enumerate(shown):
        luma = np.full((ROWS, COLUMNS), 50, np.uint8)
        luma[::2, :columns], luma[1::2, :columns] = 0, 100  # as bright on the whole, so that it is no exposure
        decoded = DecodedFrame(index, index, Fraction(1, 25), PICTURE)
        reason = "first" if index == 0 else (broken or {}).get(index)
        found.append(TiedFrame(decoded, Step(luma, STILL), reason, "bitstream", 0.0, 0.0))
    return found


def branches(groups: Iterable[Group]) -> str:
    """One letter for each frame in the order given, groups apart."""
    return " ".join("".join(frame.branch[0] for frame in group) for group in groups)


def everything_draws_on_anchors_that_ran(groups: Sequence[Group]) -> None:
    """Frames come in display order, and what a frame draws on is run before it, or ends its group."""
    ran: set[int] = set()
    indices = [frame.index for group in groups for frame in group]
    assert indices == list(range(len(indices)))
    for group in groups:
        ran |= {frame.index for frame in group if frame.branch != "moved"}
        for frame in group:
            assert all(draw.anchor in ran for draw in frame.draws)
            assert frame.branch == "hr" or frame.draws


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ([0], "h"),
        ([0] * 4, "h mmm"),
        ([0] * 9, "h mmmh mmmh"),
        ([0] * 11, "h mmmh mmmh mm"),
        # A tenth of the picture is new from frame 2 on: two anchors show it all.
        ([0, 0, 2, 2, 2], "h mmmh"),
        # And gone again: no anchor at the ends shows it, so one in the middle does.
        ([0, 0, 2, 0, 0], "h mh mh"),
        # Cuts: nothing reaches over them.
        ([0, 0, 20, 20, 20], "h m h mm"),
        # The last frames show what nothing behind them does.
        ([0, 0, 0, 2], "h mmh"),
        ([0, 0, 2], "h mh"),
        # More than two anchors could make up for: one comes before it is due.
        ([0, 0, 0, 4, 4, 4], "h mmh mm"),
    ],
)
def test_with_the_future_at_hand(shown: list[int], expected: str) -> None:
    groups = list(BothSides(4, 0.1).groups(frames(shown)))
    assert branches(groups) == expected
    everything_draws_on_anchors_that_ran(groups)


def test_frames_between_anchors_draw_on_both() -> None:
    _, (one, two, three, last) = BothSides(4, 0.1).groups(frames([0] * 5))
    assert [[(draw.anchor, draw.reach.distance) for draw in frame.draws] for frame in (one, two, three)] == [
        [(0, 1), (4, 3)],
        [(0, 2), (4, 2)],
        [(0, 3), (4, 1)],
    ]
    assert [frame.age for frame in (one, two, three, last)] == [1, 2, 1, 0]
    assert [frame.distance for frame in (one, two, three, last)] == [1, 2, 3, 0]
    assert last.reason == "interval"


def test_what_cannot_be_followed_starts_anew() -> None:
    groups = list(BothSides(4, 0.1).groups(frames([0] * 7, {3: "discontinuity"})))
    assert branches(groups) == "h mm h mmm"
    assert groups[2][0].reason == "discontinuity"
    everything_draws_on_anchors_that_ran(groups)


@pytest.mark.parametrize(
    ("looks", "shown", "expected"),
    [
        (None, [0] * 10, "h m m m m m m m h m"),
        # Where nothing is new there is nothing to look at.
        (3, [0] * 10, "h m m m m m m m h m"),
        (3, [0, *[1] * 9], "h m m l m m m m h m"),
        # Something new comes in: LR looks at once, and from there on shows it.
        (3, [0, 0, 3, 3, 3, 3], "h m l m m m"),
        (None, [0, 0, 3, 3, 3, 3], "h m h m m m"),
        (3, [0, 0, 20, 20, 20], "h m h m m"),
    ],
)
def test_without_a_future(looks: int | None, shown: list[int], expected: str) -> None:
    groups = list(OneSide(8, 0.1, looks).groups(frames(shown)))
    assert branches(groups) == expected
    everything_draws_on_anchors_that_ran(groups)


def test_lr_frames_name_the_keyframe_first() -> None:
    groups = [group[0] for group in OneSide(8, 0.3, 2).groups(frames([0, 1, 1, 2, 2, 3]))]
    assert [[draw.anchor for draw in frame.draws] for frame in groups] == [[], [0], [0], [0, 2], [0, 2], [0, 4]]


@pytest.mark.parametrize("tolerance", [-0.1, 1.1, float("nan"), True, "0.1"])
def test_a_tolerance_is_a_share(tolerance: float) -> None:
    with pytest.raises(UsageError, match="share of the picture"):
        check_tolerance(tolerance)
