"""How far AR agrees with HR on every frame of a video without labels, and what it saves there.

AR is HR on keyframes with LR and CReFF on the frames between. HR runs on every frame; between keyframes LR alone and AR
run too, and their labels are compared with HR's. Keyframes are as far apart as the video and the longest interval
allow, so that every distance up to there is measured. Beside them run the schedules that move labels along
(``schedules.py``). Then HR, AR and the adaptive schedule are timed as streams (``stream_times.py``).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from arseg_edge.errors import SourceError, UsageError
from arseg_edge.evaluation.bundle_predictor import BundlePredictor
from arseg_edge.evaluation.confusion import mean_of_known
from arseg_edge.evaluation.consistency import consistent_pixels, motion_between
from arseg_edge.evaluation.predictor import Labels, Motion
from arseg_edge.evaluation.schedules import Row, SideBySide, Tally, paper_rows, row_of
from arseg_edge.evaluation.scores import Scores, rounded
from arseg_edge.evaluation.stream_times import StreamTimes, stream_times
from arseg_edge.palette import ClassSet
from arseg_edge.results import Result
from arseg_edge.runtime.frames_in_step import frames_in_step
from arseg_edge.runtime.read_motion import MotionFrame
from arseg_edge.runtime.schedule.adaptive import TiedFrame
from arseg_edge.runtime.schedule.variants import schedules
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.network import NetworkSource
from arseg_edge.runtime.source.open_source import open_source


@dataclass(frozen=True, eq=False)
class ScaleAgreement:
    """One LR scale against HR, whose labels stand for the truth."""

    scale: float
    ar: Scores
    lr: Scores
    """NaN everywhere for a bundle of format 1, which does not say what LR alone gives."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was seen of a video; frames at distance 0 are keyframes and count nowhere."""

    model: str
    video: str
    classes: ClassSet
    interval: int
    """The model's own."""
    longest: int
    """The interval that the video was read with."""
    frames: int
    keyframes: Mapping[str, int]
    """By reason (``runtime/schedule/keyframes.py``)."""
    stretches: tuple[int, ...]
    """Frames from each keyframe that the video itself calls for to the next: all but those due by the interval."""
    frames_by_distance: tuple[int, ...]
    branches: tuple[ScaleAgreement, ...]
    """None of a bundle with HR alone."""
    times: StreamTimes
    schedules: tuple[Row, ...]
    """What each schedule costs, and how far it agrees, at the model's own interval and first LR scale."""

    def speedup(self, scale: float, interval: int) -> float:
        """Time of HR on every frame over that of HR, LR and CReFF, with the keyframes that the video calls for."""
        keyframes = sum(-(-stretch // interval) for stretch in self.stretches)
        hr, ar = self.times.hr, self.times.ar[scale]
        return self.frames * hr / (keyframes * hr + (self.frames - keyframes) * ar)

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison for ``--json``; scores are percent."""
        return {
            "model": self.model,
            "video": self.video,
            "interval": self.interval,
            "longest": self.longest,
            "frames": self.frames,
            "keyframes": dict(self.keyframes),
            "frames_by_distance": list(self.frames_by_distance),
            "milliseconds": {
                "hr": round(self.times.hr, 3),
                "ar": {f"{scale:g}": round(value, 3) for scale, value in self.times.ar.items()},
                **{name: round(value, 3) for name, value in self.times.adaptive.items()},
            },
            "scales": {f"{branch.scale:g}": self._branch(branch) for branch in self.branches},
            "schedules": [row.as_dict("agreement") for row in self.schedules],
        }

    def _branch(self, branch: ScaleAgreement) -> dict[str, Any]:
        methods = {"ar": branch.ar, "lr": branch.lr}
        return {
            "speedup": round(self.speedup(branch.scale, self.interval), 3),
            **{
                name: {
                    "agreement_by_distance": rounded(scores.agreement_by_distance),
                    "miou_by_distance": rounded(scores.by_distance),
                    "iou_by_class": dict(zip(self.classes.names, rounded(scores.by_class), strict=True)),
                }
                for name, scores in methods.items()
            },
        }


def compare(
    predictors: Sequence[BundlePredictor],
    video: str,
    *,
    longest: int,
    seconds: float | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Comparison:
    """Compare AR and LR with HR on the frames of a video.

    Args:
        predictors: of one bundle, one for each LR scale; or one of HR alone.
        video: a file, or a directory of images.
        longest: the longest keyframe interval to look at.
        seconds: how much to read, by the video's own clock; None for all.
        progress: is told what is being done.

    Raises:
        UsageError: an interval below 2, seconds that are not more than 0, a source that can be read only once.
        SourceError: the video cannot be read, or has no frame between keyframes.
        CodecError: nothing here decodes it.
        SizeError: the networks do not take frames of its size.
    """
    if longest < 2:
        raise UsageError(f"longest interval {longest}: choose 2 or more")
    if seconds is not None and not seconds > 0:
        raise UsageError(f"seconds {seconds!r}: must be more than 0")
    first = predictors[0]
    reading = _Reading(predictors, longest)
    with open_source(video) as source:
        if isinstance(source, NetworkSource):
            raise UsageError(f"{source.name}: it is read more than once: save it to a file first")
        with contextlib.closing(frames_in_step(source, longest, first.chaining)) as frames:
            reading.read(frames, seconds, progress)
    if not any(distance for distance in reading.distances):
        raise SourceError(
            f"{source.name}: each of its {reading.count} frames is a keyframe: there is nothing to compare"
        )
    progress("timing")
    return Comparison(
        model=first.name,
        video=source.name,
        classes=first.classes,
        interval=first.interval,
        longest=longest,
        frames=reading.count,
        keyframes=dict(reading.keyframes),
        stretches=tuple(reading.stretches),
        frames_by_distance=tuple(reading.distances[distance] for distance in range(longest)),
        branches=tuple(reading.branches),
        times=stream_times(predictors, video, max(2, first.interval)),
        schedules=reading.schedules,
    )


@dataclass(frozen=True, eq=False)
class _Noted:
    """What the labels of a frame are measured by, whichever schedule makes them."""

    hr: Labels
    motion: Motion | None
    """To the frame before; None on the first, and where sizes change."""


class _Reading:
    """Runs the networks on one frame after the other, and counts."""

    def __init__(self, predictors: Sequence[BundlePredictor], longest: int) -> None:
        first = predictors[0]
        classes = len(first.classes.names)
        self._first = first
        self._scaled = [
            (each, ScaleAgreement(each.scale, Scores(longest, classes), Scores(longest, classes)))
            for each in predictors
            if each.scale is not None
        ]
        self.branches = [branch for _, branch in self._scaled]
        self._hr = Scores(longest, classes)
        self.count = 0
        self.keyframes: Counter[str] = Counter()
        self.stretches: list[int] = []
        self.distances: Counter[int] = Counter()
        self._picture_type = "?"
        self._side_by_side = SideBySide(first, schedules(first.interval, lr=bool(self._scaled)))
        self._noted: WeakKeyDictionary[DecodedFrame, _Noted] = WeakKeyDictionary()
        self._before: tuple[DecodedFrame, Labels, list[tuple[Labels, Labels | None]]] | None = None
        """The last frame, HR's labels, and of each scale AR's and LR's."""
        self._moved_before: dict[str, Labels] = {}
        """By schedule, the labels of the last frame."""

    def read(
        self,
        frames: Iterable[tuple[MotionFrame, TiedFrame]],
        seconds: float | None,
        progress: Callable[[str], None],
    ) -> None:
        """Take all frames of the first ``seconds``."""

        def added() -> Iterator[TiedFrame]:
            start: float | None = None
            for frame, tied in frames:
                start = frame.time if start is None else start
                if seconds is not None and frame.time - start >= seconds:
                    return
                self._add(frame)
                progress(f"{self.count} frames")
                yield tied

        self._side_by_side.run(added(), self._count)

    def _add(self, frame: MotionFrame) -> None:
        self.count += 1
        self.distances[frame.distance] += 1
        # It would have been a keyframe at any interval. Where every frame is one, it says nothing.
        intra = frame.decoded.picture_type == "I" != self._picture_type
        self._picture_type = frame.decoded.picture_type
        if frame.keyframe_reason is not None:
            self.keyframes[frame.keyframe_reason] += 1
            if frame.keyframe_reason != "interval" or intra:
                self.stretches.append(0)
        self.stretches[-1] += 1
        hr = self._side_by_side.seen(frame.decoded).labels
        made: list[tuple[Labels, Labels | None]] = []
        for predictor, branch in self._scaled:
            lr = predictor.lr(frame.rgb) if predictor.gives_lr else None
            if frame.motion is None:
                ar = predictor.keyframe(frame.rgb)
            else:
                ar = predictor.ar(frame.rgb, frame.motion)
                branch.ar.count(frame.distance, hr, ar)
                if lr is not None:
                    branch.lr.count(frame.distance, hr, lr)
            made.append((ar, lr))
        motion = None
        if self._before is not None:
            decoded, hr_before, made_before = self._before
            motion = motion_between(frame.decoded, decoded)
            if motion is not None:
                self._hr.count_consistency(frame.distance, consistent_pixels(hr, hr_before, motion))
                for branch, now, before in zip(self.branches, made, made_before, strict=True):
                    branch.ar.count_consistency(frame.distance, consistent_pixels(now[0], before[0], motion))
                    if now[1] is not None and before[1] is not None:
                        branch.lr.count_consistency(frame.distance, consistent_pixels(now[1], before[1], motion))
        self._before = frame.decoded, hr, made
        self._noted[frame.decoded] = _Noted(hr, motion)

    def _count(self, tally: Tally, result: Result) -> None:
        """Take what a schedule made of a frame."""
        assert isinstance(result.picture, DecodedFrame)
        noted = self._noted[result.picture]
        tally.scores.count(0, noted.hr, result.labels)
        before = self._moved_before.get(tally.schedule.name)
        if noted.motion is not None and before is not None:
            tally.scores.count_consistency(0, consistent_pixels(result.labels, before, noted.motion))
        self._moved_before[tally.schedule.name] = result.labels

    @property
    def schedules(self) -> tuple[Row, ...]:
        """Every way to segment the video, with what it costs."""
        first, branch = self._first, next(iter(self.branches), None)
        interval = min(first.interval, len(self._hr.pixels))

        def measured(name: str) -> tuple[float, float] | None:
            if name == "hr" or branch is None:
                return 100.0, self._hr.consistency
            if name == "lr":
                return (branch.lr.agreement, branch.lr.consistency) if first.gives_lr else None
            # The video was read at the longest interval; at the model's own there are the first distances alone.
            distances = branch.ar.agreement_by_distance[1:interval]
            kept = branch.ar.first(interval)
            return float(mean_of_known(np.array([100.0, *distances]))), kept.consistency

        return (
            *paper_rows(first.macs, first.scale, interval, measured),
            *(
                row_of(each, first.macs, first.scale, lambda scores: scores.agreement)
                for each in self._side_by_side.tallies
            ),
        )
