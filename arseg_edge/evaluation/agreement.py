"""How far AR agrees with HR on every frame of a video without labels, and what it saves there.

AR is HR on keyframes with LR and CReFF on the frames between. HR runs on every frame; between keyframes LR alone and AR
run too, and their labels are compared with HR's. Keyframes are as far apart as the video and the longest interval
allow, so that every distance up to there is measured. Then HR and AR are timed as streams (``stream_times.py``).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arseg_edge.errors import SourceError, UsageError
from arseg_edge.evaluation.bundle_predictor import BundlePredictor
from arseg_edge.evaluation.scores import Scores, rounded
from arseg_edge.evaluation.stream_times import StreamTimes, stream_times
from arseg_edge.palette import ClassSet
from arseg_edge.runtime.read_motion import MotionFrame, motion_frames
from arseg_edge.runtime.source.network import NetworkSource
from arseg_edge.runtime.source.open_source import open_source


@dataclass(frozen=True, eq=False)
class Branch:
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
    branches: tuple[Branch, ...]
    times: StreamTimes

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
            },
            "scales": {f"{branch.scale:g}": self._branch(branch) for branch in self.branches},
        }

    def _branch(self, branch: Branch) -> dict[str, Any]:
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
        predictors: of one bundle, one for each LR scale.
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
        with contextlib.closing(motion_frames(source, longest, first.chaining)) as frames:
            start: float | None = None
            for frame in frames:
                start = frame.time if start is None else start
                if seconds is not None and frame.time - start >= seconds:
                    break
                reading.add(frame)
                progress(f"{reading.count} frames")
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
    )


class _Reading:
    """Runs the networks on one frame after the other, and counts."""

    def __init__(self, predictors: Sequence[BundlePredictor], longest: int) -> None:
        classes = len(predictors[0].classes.names)
        self._predictors = predictors
        self.branches = [Branch(each.scale, Scores(longest, classes), Scores(longest, classes)) for each in predictors]
        self.count = 0
        self.keyframes: Counter[str] = Counter()
        self.stretches: list[int] = []
        self.distances: Counter[int] = Counter()
        self._picture_type = "?"

    def add(self, frame: MotionFrame) -> None:
        """Take one more frame."""
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
        if frame.motion is None:
            for each in self._predictors:
                each.keyframe(frame.rgb)
            return
        labels = self._predictors[0].hr(frame.rgb)
        for predictor, branch in zip(self._predictors, self.branches, strict=True):
            branch.ar.count(frame.distance, labels, predictor.ar(frame.rgb, frame.motion))
            if predictor.gives_lr:
                branch.lr.count(frame.distance, labels, predictor.lr(frame.rgb))
