"""The schedule, against lists written out by hand."""

from __future__ import annotations

import pytest

from arseg_edge.errors import UsageError
from arseg_edge.runtime.schedule.keyframes import (
    Guards,
    KeyframeReason,
    Link,
    check_interval,
    keyframe_reason,
    mismatch_reason,
)

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
    intra = Link(intra=True)
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
        (Link(motion=False), "no-motion"),
        (Link(intra=True), "intra"),
        (Link(intra=True, motion=False), "intra"),
        (Link(discontinuity=True), "discontinuity"),
        (Link(corrupt=True), "corrupt"),
        (Link(corrupt=True, discontinuity=True, intra=True), "corrupt"),
        (Link(size_changed=True), "size-change"),
        (Link(size_changed=True, corrupt=True, motion=False), "size-change"),
    ],
)
def test_what_breaks_the_chain(link: Link, reason: KeyframeReason | None) -> None:
    assert keyframe_reason(link, distance=3, interval=12) == reason


@pytest.mark.parametrize("link", [Link(), Link(intra=True), Link(corrupt=True)])
def test_nothing_comes_before_the_first(link: Link) -> None:
    assert keyframe_reason(link, distance=None, interval=12) == "first"


def test_an_intra_frame_where_one_is_due_is_due() -> None:
    assert keyframe_reason(Link(intra=True), distance=12, interval=12) == "interval"


@pytest.mark.parametrize("interval", [0, -1, 1.5, "12", None, True])
def test_intervals_that_make_no_sense(interval: object) -> None:
    with pytest.raises(UsageError, match=r"interval .*: must be a whole number"):
        check_interval(interval)  # type: ignore[arg-type]


def test_intervals_that_do() -> None:
    for interval in (1, 12, 1000):
        check_interval(interval)


# Guards


@pytest.mark.parametrize(("share", "reason"), [(0.0, None), (0.5, None), (0.6, "intra-share"), (1.0, "intra-share")])
def test_a_share_of_intra_blocks(share: float, reason: KeyframeReason | None) -> None:
    assert keyframe_reason(Link(intra_share=share), 3, 12, Guards(intra=0.5)) == reason
    assert keyframe_reason(Link(intra_share=share), 3, 12, None) is None


@pytest.mark.parametrize(
    ("mismatch", "before", "reason"),
    [
        (0.2, 0.0, None),
        (0.21, 0.15, "mismatch"),
        (0.5, 0.19, "scene-cut"),
        (0.45, 0.19, "mismatch"),
        (0.0, 0.2, None),
    ],
)
def test_pixels_that_do_not_match(mismatch: float, before: float, reason: KeyframeReason | None) -> None:
    assert mismatch_reason(mismatch, before, Guards(mismatch=0.2, cut=0.3)) == reason
    assert mismatch_reason(mismatch, before, None) is None
    assert mismatch_reason(mismatch, before, Guards(1, 1, 1)) is None


@pytest.mark.parametrize("share", [-0.1, 1.1, "0.5", None, True])
@pytest.mark.parametrize("name", ["intra", "mismatch", "cut"])
def test_guards_that_make_no_sense(name: str, share: object) -> None:
    with pytest.raises(UsageError, match=f"guard {name} .*: must be a share of the picture, 0 to 1"):
        Guards(**{name: share})  # type: ignore[arg-type]
