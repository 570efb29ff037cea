"""Which method chooses the ranges, and which layers stay float: by how far labels agree with the float graph's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from arseg_edge.export.quantize.equalise import equalise
from arseg_edge.export.quantize.qdq import candidates, correct_biases, layers_of, layers_work, quantised, watched_values
from arseg_edge.export.quantize.ranges import (
    METHODS,
    Method,
    RangeCollector,
    Ranges,
    Watched,
    channel_peaks,
    float_values,
)
from arseg_edge.runtime.inference.native_operators import native_operators
from arseg_edge.runtime.inference.providers import CPU, Provider
from arseg_edge.runtime.inference.sessions import feeds_of, open_session

_RANKED_ON: Final = 2
"""Held-back frames on which every layer alone is tried in eight bits."""

Feeds = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Found:
    """A quantised graph, and what it is like."""

    model: onnx.ModelProto
    method: Method
    layers: int
    float_layers: tuple[str, ...]
    agreement: float
    """0 to 100."""


class GraphSearch:
    """One float graph on its way to eight bits; ``member`` is its name, for messages."""

    def __init__(
        self, member: str, model: onnx.ModelProto, threads: int, finish: Callable[[onnx.ModelProto], None]
    ) -> None:
        """``model`` was made ready (``float_graph.py``); ``finish`` changes what was quantised (``byte_ends.py``)."""
        self.member, self.model, self._threads, self._finish = member, model, threads, finish
        floats = float_values(model, member)
        self._nodes = candidates(model, floats)
        self._values = watched_values(model, self._nodes, floats)
        self._collector: RangeCollector | None = None

    @property
    def layers(self) -> list[str]:
        """Return the names of the layers that can run in eight bits."""
        return layers_of(self.model, self._nodes)

    def equalise(self, frames: Sequence[Feeds]) -> None:
        """Bring the channels of each value to equal ranges, those on some frames: before :meth:`observe`."""
        watched = Watched(self.model, self._values, self._threads, self.member)
        equalise(self.model, channel_peaks(watched, frames))

    def observe(self, feeds: Feeds) -> None:
        """Take in one frame that is calibrated on."""
        if self._collector is None:
            self._collector = RangeCollector(self.model, self._values, self._threads, self.member)
        self._collector.run(feeds)

    def quantised(self, ranges: Ranges, float_layers: Collection[str]) -> onnx.ModelProto:
        """Return the graph in eight bits but for some layers."""
        model = quantised(self.model, self._nodes, ranges, float_layers=float_layers)
        correct_biases(model, self.model, self._observed.means())
        return model

    @property
    def _observed(self) -> RangeCollector:
        assert self._collector is not None, "observe comes first"
        return self._collector

    def open(self, model: onnx.ModelProto) -> onnxruntime.InferenceSession:
        """Return a session as the runtime opens it."""
        provider = Provider(CPU)
        library = native_operators(provider)
        return open_session(model.SerializeToString(), provider, self._threads, self.member, library)

    def search(
        self,
        float_feeds: Sequence[Feeds],
        feeds: Sequence[Feeds],
        wanted: float,
        progress: Callable[[str], None],
    ) -> Found:
        """Return the best mix: the first that agrees on ``wanted`` percent, else the one that agrees most.

        Args:
            float_feeds: what the float graph sees on the frames held back.
            feeds: what the quantised one sees: after it other float values come from quantised graphs.
            wanted: percent of the pixels.
            progress: is told what is tried.
        """
        session = self.open(self.model)
        expected = [_labels(session, each) for each in float_feeds]
        best: Found | None = None
        for method in METHODS:
            progress(f"{self.member}: ranges by {method}")
            found = self._measured(self._observed.ranges(method), method, (), expected, feeds)
            if best is None or found.agreement > best.agreement:
                best = found
        assert best is not None
        if best.agreement >= wanted:
            return best
        ranges = self._observed.ranges(best.method)
        order = self._by_harm(ranges, session, float_feeds[:_RANKED_ON], progress)
        # A graph of which nothing is left in eight bits would be no answer.
        for count in range(1, len(order)):
            progress(f"{self.member}: {count} of {len(order)} layers in float")
            found = self._measured(ranges, best.method, tuple(order[:count]), expected, feeds)
            if found.agreement > best.agreement:
                best = found
            if best.agreement >= wanted:
                break
        return best

    def _measured(
        self,
        ranges: Ranges,
        method: Method,
        float_layers: tuple[str, ...],
        expected: Sequence[NDArray[np.uint8]],
        feeds: Sequence[Feeds],
    ) -> Found:
        model = self.quantised(ranges, float_layers)
        self._finish(model)
        session = self.open(model)
        same = [float(np.mean(_labels(session, each) == labels)) for each, labels in zip(feeds, expected, strict=True)]
        return Found(model, method, len(self.layers) - len(float_layers), float_layers, 100 * float(np.mean(same)))

    def _by_harm(
        self,
        ranges: Ranges,
        session: onnxruntime.InferenceSession,
        feeds: Sequence[Feeds],
        progress: Callable[[str], None],
    ) -> list[str]:
        """Return the layers, first the one that alone in eight bits moves the result most for the work that it is.

        Small layers cost little in float, and may hurt as much as large ones.
        """
        # Labels alone are too coarse to rank by, where there is anything else.
        names = [each.name for each in session.get_outputs() if each.name != "confidence"]
        name = next((each for each in ("logits", "lr_feature", "feature") if each in names), "labels")
        wanted = [_output(session, name, each) for each in feeds]
        harm = {}
        for number, layer in enumerate(self.layers):
            progress(f"{self.member}: layer {number + 1} of {len(self.layers)} alone")
            others = [each for each in self.layers if each != layer]
            alone = self.open(self.quantised(ranges, others))
            pairs = zip(feeds, wanted, strict=True)
            harm[layer] = sum(float(np.square(_output(alone, name, each) - value).mean()) for each, value in pairs)
        work = layers_work(self.model, self.layers, self._observed.elements)
        return sorted(harm, key=lambda layer: harm[layer] / work[layer], reverse=True)


def _output(session: onnxruntime.InferenceSession, name: str, feeds: Feeds) -> NDArray[np.float64]:
    value: NDArray[np.float64] = session.run([name], feeds_of(session, feeds))[0].astype(np.float64)
    return value


def _labels(session: onnxruntime.InferenceSession, feeds: Feeds) -> NDArray[np.uint8]:
    labels: NDArray[np.uint8] = session.run(["labels"], feeds_of(session, feeds))[0]
    return labels
