"""Every schedule on one video side by side: the adaptive one as deployed, and HR every so many frames, labels moved on.

The video is read once, and the HR network runs once on a frame at most, however many schedules look at it. What it
found there is handed to each of them, and everything else runs as it is deployed (``runtime/adaptive.py``). The LR
network runs on its own for the one schedule that asks for it.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from typing import Any
from weakref import WeakKeyDictionary

from arseg_edge.evaluation.advice import PAPER
from arseg_edge.evaluation.bundle_predictor import BundlePredictor
from arseg_edge.evaluation.scores import Scores
from arseg_edge.manifest import Macs
from arseg_edge.results import Branch, Result
from arseg_edge.runtime.adaptive import ready_group
from arseg_edge.runtime.inference.networks import Frame, Size
from arseg_edge.runtime.labels.seen import Seen
from arseg_edge.runtime.motion.chain import Motion
from arseg_edge.runtime.schedule.adaptive import Group, ScheduledFrame, TiedFrame
from arseg_edge.runtime.schedule.variants import Schedule
from arseg_edge.runtime.source.decoded_frame import DecodedFrame


@dataclass(frozen=True, eq=False)
class Tally:
    """What is counted of one schedule."""

    schedule: Schedule
    frames: Counter[Branch]
    """How many each branch got, of all frames."""
    scores: Scores
    """Of the frames that there is something to compare with; all at distance 0."""


@dataclass(frozen=True)
class Row:
    """A way to segment a video: how good its labels are, and what they cost."""

    name: str
    title: str
    score: float
    """Percent: mIoU with the truth, or pixels that agree with HR on every frame."""
    branches: tuple[float, float, float]
    """The shares, 0 to 1, of the frames that the HR and the LR network saw, and that have labels moved along."""
    arithmetic: float
    """Multiply-accumulates as a share of HR's on every frame; moving labels has none."""
    consistency: float
    """Percent of the pixels that keep their label from frame to frame (``consistency.py``)."""

    def as_dict(self, score: str) -> dict[str, Any]:
        """Return the row for ``--json``; ``score`` is what the score is called."""
        return {
            "name": self.name,
            score: round(self.score, 3),
            "frames": {name: round(share, 4) for name, share in zip(("hr", "lr", "moved"), self.branches, strict=True)},
            "arithmetic": round(self.arithmetic, 4),
            "consistency": round(self.consistency, 3),
        }


def row_of(tally: Tally, macs: Macs, scale: float | None, score: Callable[[Scores], float]) -> Row:
    """Return the row of a schedule; ``score`` takes one number of what was counted. ``scale`` is None without LR."""
    count = max(1, tally.frames.total())
    hr, lr, moved = (tally.frames[branch] / count for branch in ("hr", "lr", "moved"))
    return Row(
        tally.schedule.name,
        tally.schedule.title,
        score(tally.scores),
        (hr, lr, moved),
        hr if scale is None else hr + lr * macs.lr_frame(scale) / macs.hr,
        tally.scores.consistency,
    )


def paper_rows(
    macs: Macs, scale: float | None, interval: int, measured: Callable[[str], tuple[float, float] | None]
) -> tuple[Row, ...]:
    """Return the rows of HR on every frame, LR alone, and AR with a keyframe every ``interval`` frames.

    ``measured`` gives score and consistency of ``hr``, ``lr`` and ``ar``; None for what was not measured. Without LR,
    ``scale`` is None, and there is HR alone.
    """
    kinds = [("hr", "HR on every frame", (1.0, 0.0, 0.0), 1.0)]
    if scale is not None:
        kinds += [
            ("lr", "LR alone", (0.0, 1.0, 0.0), macs.lr[f"{scale:g}"] / macs.hr),
            (PAPER, "AR (paper)", (1 / interval, 1 - 1 / interval, 0.0), 1 - macs.saving(scale, interval)),
        ]
    rows = []
    for name, title, branches, arithmetic in kinds:
        found = measured(name)
        if found is not None:
            rows.append(Row(name, title, found[0], branches, arithmetic, found[1]))
    return tuple(rows)


class SideBySide:
    """Runs schedules over one video after the other."""

    def __init__(self, predictor: BundlePredictor, chosen: Sequence[Schedule]) -> None:
        self._predictor = predictor
        self.tallies = tuple(Tally(each, Counter(), Scores(1, len(predictor.classes.names))) for each in chosen)
        # A frame is forgotten as soon as no schedule waits for it any more.
        self._seen: WeakKeyDictionary[DecodedFrame, Seen] = WeakKeyDictionary()

    def seen(self, frame: DecodedFrame) -> Seen:
        """Return what HR makes of a frame."""
        if frame not in self._seen:
            self._seen[frame] = self._predictor.see(frame)
        return self._seen[frame]

    def run(
        self,
        frames: Iterable[TiedFrame],
        count: Callable[[Tally, Result], None],
        wanted: Collection[int] | None = None,
    ) -> None:
        """Run all schedules over the frames of one video, and hand over their results in display order.

        Args:
            frames: in display order; taken as needed, never more than twice an interval ahead of any schedule.
            count: takes a result.
            wanted: indices of the frames of which results are needed; None for all.

        Raises: as ``Segmenter.stream``, and what ``frames`` raises.
        """
        indices = None if wanted is None else sorted(wanted)
        copies = tee(frames, len(self.tallies))
        lanes = [_Lane(self, self._predictor, tally, copy) for tally, copy in zip(self.tallies, copies, strict=True)]
        del copies
        going = list(lanes)
        try:
            while going:
                lane = min(going, key=lambda each: each.taken)
                group = next(lane.groups, None)
                if group is None:
                    going.remove(lane)
                    continue
                for result in lane.run(group, indices):
                    count(lane.tally, result)
        finally:
            for lane in lanes:
                lane.close()


class _Recorded:
    """Says again what HR found, instead of running it."""

    def __init__(self, everything: SideBySide) -> None:
        self._everything = everything
        self.frame: DecodedFrame | None = None
        """The one that is looked at."""

    def forget(self) -> None:
        """Let go of the frame."""
        self.frame = None

    def run_keyframe(self, frame: Frame, labels_size: Size) -> Seen:
        """Return what HR made of the frame that is looked at."""
        assert self.frame is not None
        return self._everything.seen(self.frame)

    def run_nonkeyframe(self, frame: Frame, motion: Motion, labels_size: Size) -> Seen:
        """There is no LR network in these schedules."""
        raise AssertionError("these schedules have no LR network")


class _Lane:
    """One schedule on one video."""

    def __init__(
        self, everything: SideBySide, predictor: BundlePredictor, tally: Tally, frames: Iterator[TiedFrame]
    ) -> None:
        self._predictor, self.tally = predictor, tally
        self.taken = 0
        """Frames that the schedule has asked for."""
        self.groups = tally.schedule.groups(self._counted(frames))
        # LR needs the feature of its keyframe, which only a network gives.
        self._recorded = _Recorded(everything) if tally.schedule.looks is None else None
        self._runner = predictor.group_runner(self._recorded)

    def _counted(self, frames: Iterator[TiedFrame]) -> Iterator[TiedFrame]:
        for frame in frames:
            self.taken += 1
            yield frame

    def run(self, group: Group, wanted: Sequence[int] | None) -> Iterator[Result]:
        """Yield the results that are wanted, and perhaps more."""
        self.tally.frames.update(frame.branch for frame in group)
        needed = tuple(frame for frame in group if wanted is None or self._is_needed(frame, wanted))
        ready = ready_group(needed, lambda frame: self._predictor.picture(frame.tied.decoded))
        if self._recorded is not None:
            self._recorded.frame = next((each.tied.decoded for each in needed if each.branch == "hr"), None)
        for result in self._runner.run(ready):
            if wanted is None or _any_between(wanted, result.index, result.index + 1):
                yield result

    def _is_needed(self, frame: ScheduledFrame, wanted: Sequence[int]) -> bool:
        """Whether a frame that is wanted is this one or may draw on it."""
        if frame.branch == "moved":
            return _any_between(wanted, frame.index, frame.index + 1)
        schedule = self.tally.schedule
        keyframe = frame.index - frame.distance
        first = frame.index - schedule.interval if schedule.lookahead else frame.index
        return _any_between(wanted, first, keyframe + schedule.interval)

    def close(self) -> None:
        """Let go of everything."""
        self._runner.close()


def _any_between(numbers: Sequence[int], first: int, stop: int) -> bool:
    """Whether one of the sorted ``numbers`` is from ``first`` to below ``stop``."""
    place = bisect.bisect_left(numbers, first)
    return place < len(numbers) and numbers[place] < stop
