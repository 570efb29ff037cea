"""Accuracy on real bitstreams, by the distance from the keyframe: HR on every frame, LR alone, and AR.

AR is HR on keyframes with LR and CReFF on the frames between. Every sequence is read once for every alignment of the
keyframes to the labels (``clips.py``), so that each labelled frame is measured at each distance. Networks run only on
labelled frames, on the frame before each (for the temporal consistency), and on the keyframes of both.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeGuard
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from arseg_edge.datasets import IGNORED, Dataset, absent_classes
from arseg_edge.datasets.encode import Encoding
from arseg_edge.errors import DatasetError, UsageError
from arseg_edge.evaluation.bundle_predictor import BundlePredictor
from arseg_edge.evaluation.clips import Clip, check_length, open_clip
from arseg_edge.evaluation.consistency import consistent_pixels, motion_between
from arseg_edge.evaluation.predictor import Frame, Labels, Motion, Predictor
from arseg_edge.evaluation.schedules import Row, SideBySide, Tally, paper_rows, row_of
from arseg_edge.evaluation.scores import Scores
from arseg_edge.palette import ClassSet
from arseg_edge.results import Result
from arseg_edge.runtime.read_motion import MotionFrame
from arseg_edge.runtime.schedule.adaptive import TiedFrame
from arseg_edge.runtime.schedule.variants import Schedule, schedules
from arseg_edge.runtime.source.decoded_frame import DecodedFrame

HR: Final = "hr"
LR: Final = "lr"
AR: Final = "ar"
ZERO_MOTION: Final = "ar-zero-motion"

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how many of how many steps are behind."""


@dataclass(frozen=True, eq=False)
class EvaluationReport:
    """All that ``arseg-edge eval`` finds; scores are percent."""

    model: str
    scale: float | None
    """Of LR; None where there is HR alone."""
    dataset: str
    sequences: int
    encoded: int
    """How many of the sequences were pictures, and so were encoded here."""
    encoding: Encoding
    frame_rates: tuple[Fraction, ...]
    """Those that the pictures were encoded at."""
    shifts: tuple[int, ...]
    """Alignments of the keyframes to the labels, in frames."""
    classes: ClassSet
    methods: Mapping[str, Scores]
    """``hr`` on every frame; where there is LR, ``lr`` alone (not of a bundle of format 1), ``ar``, and where it was
    asked for ``ar-zero-motion``."""
    absent: tuple[str, ...]
    """Classes of the data set that no labelled pixel of the sequences has: they are left out of every mean."""
    truth_consistency: float
    """The share of pixels that the truth itself keeps; NaN where no two neighbours are labelled."""
    schedules: tuple[Row, ...]
    """What each schedule costs and brings, mIoU over all labelled frames at once; none where checkpoints were run."""

    def as_dict(self) -> dict[str, Any]:
        """Return the report for ``--json``."""
        return {
            "model": self.model,
            "scale": self.scale,
            "dataset": self.dataset,
            "sequences": self.sequences,
            "encoded": self.encoded,
            "codec": self.encoding.codec,
            "bit_rate": self.encoding.bit_rate,
            "frame_rates": [float(rate) for rate in self.frame_rates],
            "interval": self.encoding.interval,
            "shifts": list(self.shifts),
            "absent_classes": list(self.absent),
            "labelled_pixels_by_distance": self.methods[HR].pixels.tolist(),
            "methods": {name: scores.as_dict(self.classes.names) for name, scores in self.methods.items()},
            "truth_consistency": round(self.truth_consistency, 3),
            "schedules": [row.as_dict("miou") for row in self.schedules],
        }


def evaluate(
    predictor: Predictor,
    dataset: Dataset,
    encoding: Encoding,
    *,
    frame_rate: Fraction | None = None,
    shifts: int | None = None,
    zero_motion: bool = False,
    limit: int | None = None,
    adaptive_interval: int | None = None,
    progress: Progress = lambda what, done, total: None,
) -> EvaluationReport:
    """Measure a predictor on labelled sequences.

    Args:
        predictor: what is measured.
        dataset: its classes must be among the predictor's, by name.
        encoding: of pictures; its interval is the keyframe interval, also for videos.
        frame_rate: of pictures; None for each sequence's own. The encoding's is not looked at.
        shifts: how many alignments of the keyframes to the labels to count, spread evenly; None for all.
        zero_motion: measure AR with zero displacement, too.
        limit: how many of the sequences to take; None for all.
        adaptive_interval: of the adaptive schedule; None for its defaults at the encoding's, as ``load`` has them.
        progress: is told how far things are.

    Raises:
        DatasetError: a sequence shorter than the interval, a label of another size than its image, a class that the
            predictor does not have, or that has no pixel while 255 covers much; files that cannot be read.
        UsageError: a number of shifts that cannot be.
        SourceError, SizeError: a video that cannot be read, frames of a size that the networks do not take.
    """
    interval = encoding.interval
    if zero_motion and predictor.scale is None:
        raise UsageError(f"zero motion: {predictor.name} has HR alone, which uses none: leave it out")
    alignments = spread_shifts(interval, shifts)
    sequences = dataset.sequences[:limit]
    for sequence in sequences:
        if isinstance(sequence.frames, tuple) and not sequence.is_still:
            check_length(sequence.name, len(sequence.frames), interval)
    absent = absent_classes(dataclasses.replace(dataset, sequences=sequences))
    encoded = [sequence for sequence in sequences if isinstance(sequence.frames, tuple)]
    chosen = schedules(interval, adaptive_interval, lr=predictor.scale is not None)
    counting = _Counting(predictor, dataset, chosen, interval, zero_motion=zero_motion)
    rates = {sequence.name: frame_rate or sequence.frame_rate for sequence in sequences}
    done, total = 0, len(sequences) * len(alignments)
    for sequence in sequences:
        clip = open_clip(sequence, dataclasses.replace(encoding, frame_rate=rates[sequence.name]))
        for shift in alignments:
            progress(f"{sequence.name}, shift {shift}", done, total)
            counting.read(clip, shift)
            done += 1
    progress("done", total, total)
    kept, compared = counting.truth_kept
    return EvaluationReport(
        model=predictor.name,
        scale=predictor.scale,
        dataset=dataset.name,
        sequences=len(sequences),
        encoded=len(encoded),
        encoding=encoding,
        frame_rates=tuple(sorted({rates[sequence.name] for sequence in encoded})),
        shifts=alignments,
        classes=predictor.classes,
        methods=counting.methods,
        absent=absent,
        truth_consistency=100 * kept / compared if compared else math.nan,
        schedules=counting.schedules,
    )


def spread_shifts(interval: int, count: int | None) -> tuple[int, ...]:
    """Return ``count`` shifts from 0 to ``interval`` − 1, spread evenly; None for all.

    Raises ``UsageError`` for a count that cannot be.

    >>> spread_shifts(12, 3), spread_shifts(4, None)
    ((0, 4, 8), (0, 1, 2, 3))
    """
    count = interval if count is None else count
    if not 1 <= count <= interval:
        raise UsageError(f"{count} shifts at an interval of {interval}: choose 1 to {interval}")
    return tuple(number * interval // count for number in range(count))


@dataclass(frozen=True, eq=False)
class _Seen:
    """A frame that the networks ran on."""

    index: int
    decoded: DecodedFrame
    labels: Mapping[str, Labels]
    truth: Labels | None


@dataclass(frozen=True, eq=False)
class _Noted:
    """What the labels of a frame are measured by, whichever schedule makes them."""

    truth: Labels | None
    motion: Motion | None
    """To the frame before; None where the two are not compared."""


class _Counting:
    """Runs the networks over clips and counts."""

    def __init__(
        self,
        predictor: Predictor,
        dataset: Dataset,
        chosen: Sequence[Schedule],
        interval: int,
        *,
        zero_motion: bool,
    ) -> None:
        self._predictor, self._dataset = predictor, dataset
        self._index_of = _class_table(dataset, predictor)
        of_lr = [] if predictor.scale is None else [AR]
        names = (HR, *([LR] if predictor.gives_lr else []), *of_lr, *([ZERO_MOTION] if zero_motion else []))
        self.methods = {name: Scores(interval, len(predictor.classes.names)) for name in names}
        self.truth_kept = (0, 0)
        """Pixels of the truth that keep their label, and those compared."""
        self._keyframe: MotionFrame | None = None
        """The last keyframe, as long as the HR network has not run on it."""
        self._interval = interval
        self._side_by_side = SideBySide(predictor, chosen) if _is_bundle(predictor) else None
        self._noted: WeakKeyDictionary[DecodedFrame, _Noted] = WeakKeyDictionary()
        self._before: dict[str, Labels] = {}
        """By schedule, the labels of the last frame that was wanted."""

    def read(self, clip: Clip, shift: int) -> None:
        """Count a clip at one alignment."""
        wanted = set(clip.labels)
        if not clip.simulated:
            wanted |= {index - 1 for index in clip.labels}
        frames = self._frames(clip, shift, wanted)
        if self._side_by_side is None:
            for _ in frames:
                pass
        else:
            # Pictures are encoded from the shift on; a video's own frames keep their index.
            first = 0 if isinstance(clip.content, Path) else shift
            self._side_by_side.run(frames, self._count, [index - first for index in wanted])

    def _frames(self, clip: Clip, shift: int, wanted: Collection[int]) -> Iterator[TiedFrame]:
        """Yield the frames of a clip, and count HR, LR and AR on those that are wanted."""
        before: _Seen | None = None
        for index, frame, tied in clip.frames(shift, self._predictor.chaining):
            if frame.is_keyframe:
                self._keyframe = frame
            if index in wanted:
                path = clip.labels.get(index)
                truth = None if path is None else self._truth(path, frame)
                seen = _Seen(index, frame.decoded, self._labels(frame), truth)
                motion = None
                if truth is not None:
                    for name, scores in self.methods.items():
                        scores.count(frame.distance, truth, seen.labels[name])
                    if before is not None and before.index == index - 1:
                        motion = self._compare(seen, before, truth, frame.distance)
                self._noted[frame.decoded] = _Noted(truth, motion)
                before = seen
            yield tied

    def _count(self, tally: Tally, result: Result) -> None:
        """Take what a schedule made of a frame that is wanted."""
        assert isinstance(result.picture, DecodedFrame)
        noted = self._noted[result.picture]
        before = self._before.get(tally.schedule.name)
        self._before[tally.schedule.name] = result.labels
        if noted.truth is None:
            return
        tally.scores.count(0, noted.truth, result.labels)
        if noted.motion is not None and before is not None:
            counts = consistent_pixels(result.labels, before, noted.motion, noted.truth)
            tally.scores.count_consistency(0, counts)

    @property
    def schedules(self) -> tuple[Row, ...]:
        """Every way to segment a video, with what it costs."""
        if self._side_by_side is None or not _is_bundle(self._predictor):
            return ()
        macs, scale = self._predictor.macs, self._predictor.scale

        def measured(name: str) -> tuple[float, float] | None:
            scores = self.methods.get(name)
            return None if scores is None else (scores.together, scores.consistency)

        return (
            *paper_rows(macs, scale, self._interval, measured),
            *(row_of(each, macs, scale, lambda scores: scores.together) for each in self._side_by_side.tallies),
        )

    def _labels(self, frame: MotionFrame) -> dict[str, Labels]:
        predictor, rgb = self._predictor, frame.rgb
        if frame.motion is None:
            self._keyframe = None
            labels = predictor.keyframe(rgb)
            return {**dict.fromkeys(self.methods, labels), **self._lr_alone(rgb)}
        if AR in self.methods and self._keyframe is not None:
            predictor.keyframe(self._keyframe.rgb)
            self._keyframe = None
        hr = predictor.hr(rgb) if self._side_by_side is None else self._side_by_side.seen(frame.decoded).labels
        found = {HR: hr, **self._lr_alone(rgb)}
        if AR in self.methods:
            found[AR] = predictor.ar(rgb, frame.motion)
        if ZERO_MOTION in self.methods:
            found[ZERO_MOTION] = predictor.ar(rgb, np.zeros_like(frame.motion))
        return found

    def _lr_alone(self, rgb: Frame) -> dict[str, Labels]:
        return {LR: self._predictor.lr(rgb)} if LR in self.methods else {}

    def _truth(self, path: Path, frame: MotionFrame) -> Labels:
        labels = self._dataset.read_labels(path)
        size = frame.decoded.height, frame.decoded.width
        if labels.shape != size:
            raise DatasetError(
                f"{path}: labels of {labels.shape[0]}x{labels.shape[1]} (height x width) for a frame of "
                f"{size[0]}x{size[1]}: make both alike"
            )
        return np.asarray(self._index_of[labels])

    def _compare(self, seen: _Seen, before: _Seen, truth: Labels, distance: int) -> Motion | None:
        """Count what keeps its label, and return the motion between the two."""
        motion = motion_between(seen.decoded, before.decoded)
        if motion is None:
            return None
        for name, scores in self.methods.items():
            counts = consistent_pixels(seen.labels[name], before.labels[name], motion, truth)
            scores.count_consistency(distance, counts)
        if before.truth is not None:
            kept, compared = consistent_pixels(truth, before.truth, motion)
            self.truth_kept = self.truth_kept[0] + kept, self.truth_kept[1] + compared
        return motion


def _is_bundle(predictor: Predictor) -> TypeGuard[BundlePredictor]:
    """Whether it is deployed as it is measured: schedules are."""
    return isinstance(predictor, BundlePredictor)


def _class_table(dataset: Dataset, predictor: Predictor) -> NDArray[np.uint8]:
    """Return uint8 [256]: the predictor's index for each of the data set's, by name."""
    table = np.full(256, IGNORED, np.uint8)
    for index, name in enumerate(dataset.classes.names):
        if name not in predictor.classes.names:
            raise DatasetError(
                f"{dataset.name}: class {name!r} is none of {predictor.name}'s ({', '.join(predictor.classes.names)}): "
                "evaluate a model of these classes"
            )
        table[index] = predictor.classes.names.index(name)
    return table
