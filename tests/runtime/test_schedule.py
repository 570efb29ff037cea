"""The schedule, against lists written out by hand."""

from __future__ import annotations

import pytest

from arseg_edge.errors import UsageError
from arseg_edge.runtime.schedule import KeyframeReason, Link, check_interval, keyframe_reason

FOLLOWS = Link()


def reasons(links: list[Link], interval: int) -> list[KeyframeReason | None]:
    found: list[KeyframeReason | None] = []
    distance: int | None = None
    for link in links:
        found.append(keyframe_reason(link, distance, interval))
        distance = 1 if found[-1] is not None or distance is None else distance + 1
    return found


def test_a_fixed_interval() -> None:
    # fmt: off
    assert reasons([FOLLOWS] * 9, 4) == [
        "first", None, None, None,
        "interval", None, None, None,
        "interval",
    ]
    # fmt: on


def test_every_frame() -> None:
    assert reasons([FOLLOWS] * 4, 1) == ["first", "interval", "interval", "interval"]


def test_a_broken_chain_starts_a_new_interval() -> None:
    intra = Link(vectors=False, intra=True)
    assert reasons([intra, FOLLOWS, FOLLOWS, intra, FOLLOWS, FOLLOWS, FOLLOWS, FOLLOWS], 4) == [
        "first",
        None,
        None,
        "intra",
        None,
        None,
        None,
        "interval",
    ]


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        (Link(), None),
        (Link(vectors=False), "no-motion"),
        (Link(vectors=False, intra=True), "intra"),
        (Link(intra=True), None),  # marked as I, and yet with slices that are predicted
        (Link(reordered=True), "reordered"),
        (Link(reordered=True, vectors=False, intra=True), "reordered"),
        (Link(discontinuity=True), "discontinuity"),
        (Link(corrupt=True), "corrupt"),
        (Link(corrupt=True, discontinuity=True, reordered=True), "corrupt"),
        (Link(size_changed=True), "size-change"),
        (Link(size_changed=True, corrupt=True, vectors=False), "size-change"),
    ],
)
def test_what_breaks_the_chain(link: Link, reason: KeyframeReason | None) -> None:
    assert keyframe_reason(link, distance=3, interval=12) == reason


@pytest.mark.parametrize("link", [Link(), Link(vectors=False, intra=True), Link(corrupt=True)])
def test_nothing_comes_before_the_first(link: Link) -> None:
    assert keyframe_reason(link, distance=None, interval=12) == "first"


def test_an_intra_frame_where_one_is_due_is_due() -> None:
    assert keyframe_reason(Link(vectors=False, intra=True), distance=12, interval=12) == "interval"


@pytest.mark.parametrize("interval", [0, -1, 1.5, "12", None, True])
def test_intervals_that_make_no_sense(interval: object) -> None:
    with pytest.raises(UsageError, match=r"interval .*: must be a whole number"):
        check_interval(interval)  # type: ignore[arg-type]


def test_intervals_that_do() -> None:
    for interval in (1, 12, 1000):
        check_interval(interval)
