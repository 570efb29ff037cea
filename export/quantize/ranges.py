"""The ranges of a graph's values over many frames, and how much of them a byte is to hold.

ONNX Runtime's own calibrators keep every value of every frame for the methods that look at more than the extremes.
Here each value's extremes and a histogram are kept, so that memory does not grow with the frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

import numpy as np
import onnx
from numpy.typing import NDArray

from arseg_edge.runtime.inference.native_operators import native_operators
from arseg_edge.runtime.inference.providers import CPU, Provider
from arseg_edge.runtime.inference.sessions import feeds_of, open_session

Method = Literal["minmax", "percentile", "mse"]
"""How a range is chosen: all that occurred; without the farthest 1/10 000 on each side; the one with the least mean
squared error of bytes."""

METHODS: Final[tuple[Method, ...]] = get_args(Method)

Ranges = Mapping[str, tuple[float, float]]
"""Lowest and highest by the value's name."""

_BINS: Final = 4096
_SAMPLES: Final = 1 << 15
"""Values of a tensor that go into its histogram, of each frame."""
_OUTSIDE: Final = 1e-4
_LEVELS: Final = 255


@dataclass
class Histogram:
    """Extremes, and how often values lie where, between −``limit`` and ``limit``, which doubles when it must."""

    lowest: float = np.inf
    highest: float = -np.inf
    limit: float = 0.0
    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_BINS))

    def add(self, values: NDArray[np.float32]) -> None:
        """Take a tensor in: extremes of all, the histogram of evenly spread ones."""
        flat = values.reshape(-1)
        if not flat.size:
            return
        lowest, highest = float(flat.min()), float(flat.max())
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        self._reach(max(-lowest, highest))
        if self.limit:
            # An odd step does not meet the same columns again and again.
            part = flat[:: max(1, flat.size // _SAMPLES) | 1]
            places = ((part / self.limit + 1) * (_BINS / 2)).astype(np.int64)
            self.counts += np.bincount(np.clip(places, 0, _BINS - 1), minlength=_BINS)

    def _reach(self, peak: float) -> None:
        if peak <= self.limit:
            return
        limit = self.limit or float(2.0 ** np.ceil(np.log2(max(peak, 1e-30))))
        while limit < peak:
            limit *= 2
        if self.limit:
            # Each bin of the wider histogram holds a whole number of narrow ones.
            ratio = round(limit / self.limit)
            counts, inner = np.zeros(_BINS), self.counts.reshape(-1, min(ratio, _BINS)).sum(axis=1)
            start = (_BINS - inner.size) // 2
            counts[start : start + inner.size] = inner
            self.counts = counts
        self.limit = limit

    def range(self, method: Method) -> tuple[float, float]:
        """Return (lowest, highest) by ``method``; both are 0 where nothing else ever was."""
        if not self.counts.any():
            return 0.0, 0.0
        if method == "minmax":
            return self.lowest, self.highest
        return self._percentile() if method == "percentile" else self._least_error()

    @property
    def _centres(self) -> NDArray[np.float64]:
        places = np.arange(_BINS, dtype=np.float64) + 0.5
        return places * (2 * self.limit / _BINS) - self.limit

    def _percentile(self) -> tuple[float, float]:
        below = np.cumsum(self.counts) / self.counts.sum()
        edges = np.arange(_BINS + 1) * (2 * self.limit / _BINS) - self.limit
        low = edges[int(np.searchsorted(below, _OUTSIDE, side="right"))]
        high = edges[min(int(np.searchsorted(below, 1 - _OUTSIDE)) + 1, _BINS)]
        return max(self.lowest, float(low)), min(self.highest, float(high))

    def _least_error(self) -> tuple[float, float]:
        present = self.counts > 0
        values, weights = self._centres[present], self.counts[present]
        best, least = (self.lowest, self.highest), np.inf
        for share in np.linspace(0.2, 1, 81):
            low, high = self.lowest * share, self.highest * share
            step = (max(high, 0) - min(low, 0)) / _LEVELS
            beyond = np.maximum(values - max(high, 0), 0) + np.maximum(min(low, 0) - values, 0)
            error = float((weights * np.where(beyond > 0, beyond**2, step**2 / 12)).sum())
            if error < least:
                best, least = (low, high), error
        return best


class Watched:
    """A float graph that also gives its inner values."""

    def __init__(self, model: onnx.ModelProto, values: Iterable[str], threads: int, name: str) -> None:
        """``values``: those to watch; ``name``: the graph's, for messages."""
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        have = {each.name for each in watched.graph.output}
        inputs = {each.name for each in watched.graph.input}
        self._names = [each for each in values if each not in inputs]
        watched.graph.output.extend(onnx.ValueInfoProto(name=each) for each in self._names if each not in have)
        provider = Provider(CPU)
        library = native_operators(provider)
        self._session = open_session(watched.SerializeToString(), provider, threads, name, library)

    def values(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Return what the graph makes of these inputs, by name."""
        found = self._session.run(self._names, feeds_of(self._session, feeds))
        return dict(zip(self._names, found, strict=True))


def channel_peaks(watched: Watched, frames: Iterable[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[np.float32]]:
    """Return the largest magnitude in each channel of every watched value [N, C, H, W] over the frames."""
    peaks: dict[str, NDArray[np.float32]] = {}
    for feeds in frames:
        for name, value in watched.values(feeds).items():
            if value.ndim == 4:
                here = np.maximum(value.max(axis=(0, 2, 3)), -value.min(axis=(0, 2, 3)))
                peaks[name] = np.maximum(here, peaks.get(name, here))
    return peaks


class RangeCollector:
    """A float graph's inner values over many frames: their histograms, and the means of their channels."""

    def __init__(self, model: onnx.ModelProto, values: Iterable[str], threads: int, name: str) -> None:
        """``values``: those to watch; ``name``: the graph's, for messages."""
        self._histograms = {each: Histogram() for each in values}
        self._watched = Watched(model, self._histograms, threads, name)
        self.elements: dict[str, int] = {}
        """How many numbers a value has, on the last frame."""
        self._sums: dict[str, NDArray[np.float64]] = {}
        self._frames = 0

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        """Take in what the graph makes of these inputs."""
        self._frames += 1
        given = {name: value for name, value in feeds.items() if name in self._histograms}
        for name, value in {**given, **self._watched.values(feeds)}.items():
            self._histograms[name].add(value)
            self.elements[name] = value.size
            if value.ndim == 4:
                mean = value.mean(axis=(0, 2, 3), dtype=np.float64)
                self._sums[name] = mean + self._sums.get(name, 0.0)

    def means(self) -> dict[str, NDArray[np.float64]]:
        """Return the mean of each channel of values [N, C, H, W]."""
        return {name: total / self._frames for name, total in self._sums.items()}

    def ranges(self, method: Method) -> dict[str, tuple[float, float]]:
        """Return the ranges by ``method``."""
        return {name: histogram.range(method) for name, histogram in self._histograms.items()}


def float_values(model: onnx.ModelProto, name: str) -> set[str]:
    """Return the names of all values of a graph that are float32, constants aside."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    have = {each.name for each in watched.graph.output}
    made = dict.fromkeys(each for node in watched.graph.node for each in node.output if each and each not in have)
    watched.graph.output.extend(onnx.ValueInfoProto(name=each) for each in made)
    session = open_session(watched.SerializeToString(), Provider(CPU), 1, name, None)
    ends = [*session.get_outputs(), *session.get_inputs()]
    return {each.name for each in ends if each.type == "tensor(float)"}
