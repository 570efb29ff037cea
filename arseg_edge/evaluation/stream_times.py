"""What a frame takes in a stream, as deployed: decoding and motion overlap with the networks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Final

from arseg_edge.evaluation.bundle_predictor import BundlePredictor
from arseg_edge.runtime.schedule.variants import schedules
from arseg_edge.runtime.source.open_source import SourceLike
from arseg_edge.runtime.stream import ResultStream
from arseg_edge.schedule_choice import ADAPTIVE_FILE, ADAPTIVE_LIVE

_ROUNDS: Final = 3
"""The variants take turns, for a machine's speed drifts; the medians count."""
_INTERVALS: Final = 2
"""Keyframe intervals of the video that AR is timed on."""


@dataclass(frozen=True)
class StreamTimes:
    """Milliseconds a frame."""

    hr: float
    """Of HR on every frame."""
    ar: Mapping[float, float]
    """What a frame between keyframes adds to an AR stream, by LR scale."""
    adaptive: Mapping[str, float]
    """Of a stream by the adaptive schedule, by its row's name (``schedule/variants.py``)."""


def stream_times(predictors: Sequence[BundlePredictor], video: SourceLike, interval: int) -> StreamTimes:
    """Time HR on every frame beside AR with each predictor and the adaptive schedule, on a video's first frames.

    Raises: as ``Segmenter.stream``. The video must have a frame that is no keyframe among the first ones.
    """
    hr: list[float] = []
    scaled = [(each.scale, each) for each in predictors if each.scale is not None]
    ar: dict[float, list[float]] = {scale: [] for scale, _ in scaled}
    chosen = [each for each in schedules(interval, lr=False) if each.name in (ADAPTIVE_FILE, ADAPTIVE_LIVE)]
    adaptive: dict[str, list[float]] = {each.name: [] for each in chosen}
    for _ in range(_ROUNDS):
        total, frames, _ = _drain(predictors[0].stream(video, 1), interval)
        hr.append(total / frames)
        for scale, each in scaled:
            total, frames, keyframes = _drain(each.stream(video, interval), _INTERVALS * interval)
            ar[scale].append((total - keyframes * hr[-1]) / (frames - keyframes))
        for schedule in chosen:
            stream = predictors[0].stream(video, schedule.interval, **schedule.settings)
            total, frames, _ = _drain(stream, _INTERVALS * interval)
            adaptive[schedule.name].append(total / frames)
    return StreamTimes(
        statistics.median(hr),
        {scale: statistics.median(values) for scale, values in ar.items()},
        {name: statistics.median(values) for name, values in adaptive.items()},
    )


def _drain(results: ResultStream, count: int) -> tuple[float, int, int]:
    """Return milliseconds, frames and keyframes of the first ``count`` results."""
    start = perf_counter()
    frames = keyframes = 0
    with results:
        for result in islice(results, count):
            frames += 1
            keyframes += result.is_keyframe
        milliseconds = (perf_counter() - start) * 1e3
    return milliseconds, frames, keyframes
