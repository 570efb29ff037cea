"""What each branch costs on this device, measured once on the first frames of a stream, before any result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from statistics import median
from time import perf_counter
from typing import Final

from arseg_edge.manifest import LabelRule
from arseg_edge.runtime.adaptive import Convert, labels_along
from arseg_edge.runtime.inference.keyframe_state import KeyframeState
from arseg_edge.runtime.inference.networks import Size
from arseg_edge.runtime.labels.seen import Seen
from arseg_edge.runtime.schedule.adaptive import BothSides, OneSide, ScheduledFrame, TiedFrame
from arseg_edge.runtime.schedule.budget import ONLY_CUTS, Costs

SAMPLE: Final = 9
"""Frames at the start of a stream that costs are measured on: the first has HR, as often the last, and labels are moved
to those between."""

_RUNS: Final = 3
"""Of each, after one that does not count; the fastest is the device's, whatever else it had to do."""


def sample(frames: Iterator[TiedFrame]) -> tuple[list[TiedFrame], Iterator[TiedFrame]]:
    """Return the first frames, of one size, and all frames from the first on.

    What ``frames`` raises is raised behind all frames before it, by the iterator alone.
    """
    taken: list[TiedFrame] = []
    rest: Iterator[TiedFrame] = frames
    try:
        for tied in frames:
            taken.append(tied)
            if len(taken) == SAMPLE:
                break
    except Exception as error:  # whatever it is, the frames before it come first
        rest = _raising(error)
    unbroken = next((at for at, each in enumerate(taken) if at and each.broken is not None), len(taken))
    return taken[:unbroken], chain(taken, rest)


def _raising(error: Exception) -> Iterator[TiedFrame]:
    raise error
    yield  # what makes it a generator


def measure_costs(
    frames: Sequence[TiedFrame],
    state: KeyframeState,
    picture: Convert,
    classes: int,
    rule: LabelRule | None,
    *,
    lookahead: bool,
    lr: bool,
) -> Costs:
    """Measure on the first frames of a stream, of which there is at least one.

    Args:
        frames: of one size, each tied to the one before.
        state: that runs the networks, and is forgotten afterwards.
        picture: returns what the networks take of a frame.
        classes: how many the bundle has.
        rule: how the bundle makes labels of logits; None where it gives none.
        lookahead: labels are moved from both sides.
        lr: measure LR, too.
    """
    later = frames[1:]
    schedule = BothSides(len(later), ONLY_CUTS) if lookahead else OneSide(len(later), ONLY_CUTS, None)
    start = perf_counter()
    scheduled = [frame for group in schedule.groups(frames) for frame in group]
    scheduling = (perf_counter() - start) * 1e3 / len(frames)
    # The first frame is decoded when the source is opened.
    every = scheduling + median(each.decode_ms + each.motion_ms for each in later or frames)

    def look(frame: ScheduledFrame) -> Seen:
        return state.run_keyframe(picture(frame), _size(frame))

    anchors = [each for each in scheduled if each.branch == "hr"]
    hr = _fastest(lambda: look(anchors[0]))
    seen = {each.index: look(each) for each in anchors}
    moved = [each for each in scheduled if each.branch == "moved"]
    moving = 0.0
    if moved:
        middle = moved[len(moved) // 2]
        moving = _fastest(lambda: labels_along(middle, seen, classes, rule))
    looking = None
    if lr and moved:
        other = replace(moved[0], branch="lr")
        motion = moved[0].draws[0].reach.motion
        looking = moving + _fastest(lambda: state.run_nonkeyframe(picture(other), motion, _size(other)))
    state.forget()
    return Costs(every, hr, moving, looking)


def _size(frame: ScheduledFrame) -> Size:
    return frame.tied.decoded.height, frame.tied.decoded.width


def _fastest(run: Callable[[], object]) -> float:
    """Return the least milliseconds of some runs, the first left out."""
    times = []
    for _ in range(1 + _RUNS):
        start = perf_counter()
        run()
        times.append((perf_counter() - start) * 1e3)
    return min(times[1:])
