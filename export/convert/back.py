"""From what a converted model gives to labels, in ONNX, and the logits that moved labels are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import onnx
from onnx import TensorProto

from arseg_edge.export.convert.class_output import ClassOutput
from arseg_edge.export.convert.ends import Ends
from arseg_edge.export.convert.front import Window
from arseg_edge.export.convert.probing import Size
from arseg_edge.export.convert.request import Layout
from arseg_edge.export.convert.tail import Source
from arseg_edge.export.operators.segmentation_labels import (
    CONFIDENCE,
    CONFIDENCE_SIZE,
    body_of_any_opset,
    segmentation_labels_node,
)
from arseg_edge.manifest import LabelRule

LABELS: Final = "labels"
LOGITS: Final = "logits"
_AXES_ARE_INPUTS: Final = 18
"""The opset since which ReduceMax takes its axes as an input."""
_COARSEST: Final = 4
"""Pixels of the model's picture in a cell of the logits for moved labels: finer ones cost memory and show no more."""


@dataclass(frozen=True)
class Back:
    """How labels are made of a model's output."""

    output: ClassOutput
    classes: int
    threshold: float
    source: Source | None
    """A value that stands before the output."""
    from_source: bool
    """Whether labels are made of the source, or of the output, as whoever has the model alone must."""
    probabilities: frozenset[str]
    """Those of the values of the model that are probabilities already, whose softmax would say nothing."""

    @property
    def share(self) -> Literal["softmax", "sigmoid"] | None:
        """What made probabilities of the numbers that labels are made of; None: they are logits."""
        made_of = self.source.value if self.from_source and self.source is not None else self.output.name
        if made_of not in self.probabilities:
            return None
        return "sigmoid" if self.output.kind == "score" else "softmax"

    @property
    def functions(self) -> bool:
        """Whether ``SegmentationLabels`` is used; labels that the model itself gives need none."""
        return self.output.kind != "labels"


def put_back(
    ends: Ends, back: Back, value_of: dict[str, str], seen: Size, window: Window | None, opset: int
) -> tuple[LabelRule | None, onnx.FunctionProto | None]:
    """Add the nodes that make ``labels`` and, where there is anything to make them of, ``logits``.

    Args:
        ends: where the nodes go.
        back: what is wanted.
        value_of: the names that the model's values have in the graph.
        seen: a size of the model's picture, at which ``back`` has its sizes.
        window: where the frame lies in the model's picture; None: it is all of it.
        opset: of the graph.

    Returns the rule for the logits, and the body of the operator that was used.
    """
    output, source = back.output, back.source
    if output.kind == "labels":
        labels = _planes(ends, value_of[output.name], output.layout, output.rank)
        labels = ends.node("Cast", [labels], to=TensorProto.UINT8)
        if window is not None:
            labels = _cropped(ends, _nearest(ends, labels, _picture(ends, value_of)), window)
        labels = _nearest(ends, labels, "labels_size")
        ends.node(
            "Reshape", [labels, ends.node("Concat", [ends.constant([1], np.int64), "labels_size"], axis=0)], LABELS
        )
        if source is None:
            return None, None
        logits = _logits(ends, back, value_of, source)
        if window is not None:
            logits = _cropped(ends, ends.resize(logits, _picture(ends, value_of), channels=back.classes), window)
        return _give(ends, back, logits, seen, source.size if window is None else seen, source.align_corners), None
    exact = back.from_source and source is not None and source.upscale is not None
    logits = _logits(ends, back, value_of, source if back.from_source else None)
    upscale = source.upscale or 1 if back.from_source and source is not None else 1
    align = back.from_source and source is not None and source.align_corners
    if window is not None:
        logits = _cropped(ends, ends.resize(logits, _picture(ends, value_of), channels=back.classes), window)
        upscale, align = 1, False
    share = back.share
    sure = share is None
    ends.nodes.append(
        segmentation_labels_node(logits, "labels_size", LABELS, upscale=upscale, align_corners=align, confidence=sure)
    )
    body = body_of_any_opset(opset, upscale=upscale, align_corners=align, confidence=sure)
    if share is not None:
        _put_share(ends, logits, back, opset)
    if window is not None:
        return _give(ends, back, logits, seen, seen, False), body
    if back.from_source and source is not None:
        return _give(ends, back, logits, seen, source.size, align and not exact), body
    if source is not None:
        small = _logits(ends, back, value_of, source)
        return _give(ends, back, small, seen, source.size, source.align_corners), body
    return _give(ends, back, logits, seen, output.size, False), body


def _nearest(ends: Ends, labels: str, size: str) -> str:
    """Return [1, 1, h, w] at another size, with half-pixel centres; of two that are equally near, the later.

    In whole numbers: what is nearest must not hang on how a runtime rounds.
    """
    one, two = ends.constant(1, np.int64), ends.constant(2, np.int64)
    have = ends.sides(labels)
    for axis, number in ((2, 0), (3, 1)):
        which = ends.constant(number, np.int64)
        source, target = (ends.node("Gather", [each, which], axis=0) for each in (have, size))
        pixels = ends.node("Range", [ends.constant(0, np.int64), target, one])
        odd = ends.node("Add", [ends.node("Mul", [pixels, two]), one])
        places = ends.node("Mul", [odd, source])
        nearest = ends.node("Div", [places, ends.node("Mul", [target, two])])
        labels = ends.node("Gather", [labels, nearest], axis=axis)
    return labels


def _planes(ends: Ends, value: str, layout: Layout, rank: int) -> str:
    """Return [1, C, h, w]."""
    if rank == 4:
        return ends.node("Transpose", [value], perm=[0, 3, 1, 2]) if layout == "nhwc" else value
    shape = ends.node("Shape", [value])
    sides = ends.node("Slice", [shape, ends.constant([rank - 2], np.int64), ends.constant([rank], np.int64)])
    target = ends.node("Concat", [ends.constant([1, 1], np.int64), sides], axis=0)
    return ends.node("Reshape", [value, target])


def _logits(ends: Ends, back: Back, value_of: dict[str, str], source: Source | None) -> str:
    """Return float [1, classes, h, w], of the source or of the output."""
    output = back.output
    if source is not None:
        planes = _planes(ends, value_of[source.value], source.layout, 4)
    else:
        planes = _planes(ends, value_of[output.name], output.layout, output.rank)
    planes = ends.node("Cast", [planes], to=TensorProto.FLOAT)
    if output.kind != "score":
        return planes
    threshold = back.threshold
    if source is not None and source.sigmoid:
        threshold = math.log(threshold / (1 - threshold))
    shape = ends.node("Shape", [planes])
    value = onnx.numpy_helper.from_array(np.array([threshold], np.float32))
    return ends.node("Concat", [ends.node("ConstantOfShape", [shape], value=value), planes], axis=1)


def _put_share(ends: Ends, scores: str, back: Back, opset: int) -> None:
    """Add what gives the winner's share, 0 … 255, of probabilities [1, n, h, w] at ``confidence_size``."""
    # Where nobody asks, that is (0, 0), to which nothing can be resized.
    asked = ends.at_least(CONFIDENCE_SIZE, 1)
    resized = ends.resize(scores, asked, channels=back.classes)
    if back.share == "sigmoid":
        zero, one, two = (ends.constant([each], np.int64) for each in (0, 1, 2))
        axis = ends.constant([1], np.int64)
        threshold, yes = (ends.node("Slice", [resized, *ends_, axis]) for ends_ in ((zero, one), (one, two)))
        no = ends.node("Sub", [ends.constant(1, np.float32), yes])
        largest = ends.node("Where", [ends.node("Greater", [yes, threshold]), yes, no])
    elif opset >= _AXES_ARE_INPUTS:
        largest = ends.node("ReduceMax", [resized, ends.constant([1], np.int64)], keepdims=1)
    else:
        largest = ends.node("ReduceMax", [resized], axes=[1], keepdims=1)
    scaled = ends.node("Round", [ends.node("Mul", [largest, ends.constant(255, np.float32)])])
    # What is no number is no confidence.
    valid = ends.node("Where", [ends.node("IsNaN", [scaled]), ends.constant(0, np.float32), scaled])
    values = ends.node("Cast", [valid], to=TensorProto.UINT8)
    corner, sides = ends.constant([0, 0], np.int64), ends.constant([2, 3], np.int64)
    cut = ends.node("Slice", [values, corner, CONFIDENCE_SIZE, sides])
    ends.node("Gather", [cut, ends.constant(0, np.int64)], CONFIDENCE, axis=1)


def _picture(ends: Ends, value_of: dict[str, str]) -> str:
    """Return the size of the picture that the model sees."""
    return value_of["picture size"]


def _cropped(ends: Ends, planes: str, window: Window) -> str:
    end = ends.node("Add", [window.start, window.size])
    return ends.node("Slice", [planes, window.start, end, ends.constant([2, 3], np.int64)])


def _give(ends: Ends, back: Back, logits: str, seen: Size, size: Size, align_corners: bool) -> LabelRule:
    """Give the logits, not finer than a few pixels a cell, and return where they lie."""
    stride = seen[0] / size[0]
    if stride >= _COARSEST:
        ends.node("Identity", [logits], LOGITS)
        return LabelRule(1, align_corners)
    step = max(2, round(_COARSEST / stride))
    have, more = ends.sides(logits), ends.constant([step - 1], np.int64)
    cells = ends.node("Div", [ends.node("Add", [have, more]), ends.constant([step], np.int64)])
    ends.node("Identity", [ends.resize(logits, cells, channels=back.classes)], LOGITS)
    return LabelRule(1, False)
