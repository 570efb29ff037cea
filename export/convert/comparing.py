"""A converted model's labels beside the model's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from arseg_edge.bundle import KEYFRAME
from arseg_edge.errors import ModelError, ParityError, reason_of
from arseg_edge.export.clips import ParityClip, other_size, random_clip, resized_clip, structured_clip
from arseg_edge.export.convert.given_model import GivenModel
from arseg_edge.export.convert.graph import KeyframeGraph, keyframe_graph
from arseg_edge.export.convert.looking import Looked
from arseg_edge.export.convert.probing import Size
from arseg_edge.export.operators.segmentation_labels import CONFIDENCE_SIZE
from arseg_edge.golden import Expected, GoldenClip
from arseg_edge.manifest import ParityFigure

TOLERANCE: Final = 1e-3
"""The share of an image's pixels that may have another label than the model alone gives."""


def _clips(looked: Looked) -> Iterator[ParityClip]:
    """Yield the images; the last is of another size and odd, and labels of yet another size are wanted for it."""
    height, width = looked.frame_size
    yield random_clip(height, width, 1)
    yield structured_clip(height, width, 1)
    yield resized_clip(height * 7 // 8 | 1, width * 9 // 8 | 1, 1)


def compared(given: GivenModel, looked: Looked, facts: Mapping[str, str]) -> tuple[KeyframeGraph, list[ParityFigure]]:
    """Return the graph, and how far its labels are the model's own.

    Labels of what the model enlarges at its end cost less; where they are not equal, they are made of its output.
    """
    frames = [(clip, clip.labels_size or _size_of(clip.frames[0])) for clip in _clips(looked)]
    reference = looked.reference
    expected = [reference.labels(clip.frames[0], size) for clip, size in frames]
    backs = [looked.back] if looked.back.from_source else []
    backs.append(replace(looked.back, from_source=False))
    for back in backs:
        graph = keyframe_graph(given, looked.picture, looked.rule, back, looked.seen, facts)
        run = _Runner(given, graph)
        errors = [
            float(np.mean(run(clip.frames[0], size) != labels))
            for (clip, size), labels in zip(frames, expected, strict=True)
        ]
        figures = [
            ParityFigure(KEYFRAME, "labels", clip.name, _size_of(clip.frames[0]), error, TOLERANCE)
            for (clip, _), error in zip(frames, errors, strict=True)
        ]
        worst = max(figures, key=lambda figure: figure.error)
        if worst.error <= TOLERANCE:
            return graph, figures
    raise ParityError(
        f"{given.name}: {worst.error:.2%} of the labels differ from the model's own on {worst.input} input at "
        f"{worst.size[0]}x{worst.size[1]} ({TOLERANCE:.1%} may): nothing was written; give --size HxW, if the model "
        "computes otherwise at another size"
    )


def _size_of(frame: NDArray[np.uint8]) -> Size:
    return frame.shape[0], frame.shape[1]


class _Runner:
    """A bundle's graph at work, without the native library."""

    def __init__(self, given: GivenModel, graph: KeyframeGraph) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self._name = given.name
        try:
            data = graph.model.SerializeToString()
            self._session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(
                f"{given.name}: ONNX Runtime does not load what was made of it ({reason_of(error)})"
            ) from error

    def __call__(self, frame: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
        """Return labels of a size."""
        inputs = {"frame": np.ascontiguousarray(frame)[None], "labels_size": np.array(size, np.int64)}
        if any(each.name == CONFIDENCE_SIZE for each in self._session.get_inputs()):
            inputs[CONFIDENCE_SIZE] = np.zeros(2, np.int64)
        try:
            (labels,) = self._session.run(["labels"], inputs)
        except Exception as error:
            raise ModelError(
                f"{self._name}: does not run on frames of {frame.shape[0]}x{frame.shape[1]} ({reason_of(error)}): give "
                "--size HxW, or --multiple"
            ) from error
        return np.asarray(labels[0], np.uint8)


def golden_clip(looked: Looked) -> GoldenClip:
    """Return two frames with what the model alone makes of them, of the second at another size."""
    clip = structured_clip(*looked.frame_size, 2)
    sizes = (_size_of(clip.frames[0]), other_size(*looked.frame_size))
    reference = looked.reference
    expected = {index: Expected(reference.labels(clip.frames[index], size), {}) for index, size in enumerate(sizes)}
    return GoldenClip(clip.frames, np.zeros_like(clip.motion), {KEYFRAME: expected})
