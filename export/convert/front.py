"""From a frame to what a converted model takes, in ONNX; ``manifest.ConvertedInput`` says how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from onnx import TensorProto

from arseg_edge.export.convert.ends import Ends
from arseg_edge.export.convert.image_input import ImageInput
from arseg_edge.manifest import ConvertedInput

_RGB: Final = 3
_LUMA: Final = (0.299, 0.587, 0.114)
"""Of R, G, B in ITU-R BT.601."""
_ANTIALIAS_SINCE: Final = 18
"""The opset in which Resize got it."""


@dataclass(frozen=True)
class Window:
    """Where the frame lies in the picture that the model sees: values of the graph, int64 [2] each."""

    start: str
    """(top, left)."""
    size: str
    """(height, width)."""


def channel_count(rule: ConvertedInput) -> int:
    """Return how many channels the model takes."""
    return {"rgb": 3, "bgr": 3, "grey": 1, "grey+alpha": 2, "rgb+alpha": 4, "bgr+alpha": 4}[rule.channels]


def put_front(ends: Ends, rule: ConvertedInput, picture: ImageInput, opset: int, image: str) -> Window | None:
    """Add the nodes that make ``image`` of ``frame``; return the window of a letterbox, None of a stretched frame."""
    planes = ends.node("Transpose", ["frame"], perm=[0, 3, 1, 2])
    colours, alpha = rule.channels.partition("+")[::2]
    if colours == "bgr":
        planes = ends.node("Gather", [planes, ends.constant([2, 1, 0], np.int64)], axis=1)
    values = _floats(ends, planes)
    channels = _RGB
    if colours == "grey":
        weights = ends.constant(np.reshape(_LUMA, (1, 3, 1, 1)), np.float32)
        values, channels = ends.node("Round", [ends.node("Conv", [values, weights])]), 1
    frame_size = ends.sides("frame", last=True)
    window = None
    if rule.resize == "letterbox" and (rule.size is not None or rule.multiple > 1):
        values, window = _letterboxed(ends, values, frame_size, rule, opset, channels)
    elif rule.size is not None:
        values = _resized(ends, values, ends.constant(rule.size, np.int64), rule, opset, channels)
    elif rule.multiple > 1:
        values = _resized(ends, values, _nearest_multiple(ends, frame_size, rule.multiple), rule, opset, channels)
    if alpha:
        one = ends.node("Gather", [values, ends.constant([0], np.int64)], axis=1)
        none = ends.node("Mul", [one, ends.constant(0, np.float32)])
        values = ends.node("Concat", [values, ends.node("Add", [none, ends.constant(255, np.float32)])], axis=1)
    values = _normalised(ends, values, rule)
    if picture.kind != TensorProto.FLOAT:
        values = ends.node("Cast", [values], to=picture.kind)
    if picture.layout == "nhwc":
        ends.node("Transpose", [values], image, perm=[0, 2, 3, 1])
    else:
        ends.node("Identity", [values], image)
    return window


def _floats(ends: Ends, value: str) -> str:
    return ends.node("Cast", [value], to=TensorProto.FLOAT)


def _resized(ends: Ends, values: str, size: str, rule: ConvertedInput, opset: int, channels: int) -> str:
    """Return whole numbers, as every tool gives that resizes pictures of bytes."""
    if not rule.antialias:
        return ends.node("Round", [ends.resize(values, size, channels=channels)])
    if opset >= _ANTIALIAS_SINCE:
        # What lies outside has no weight, as with Pillow.
        return ends.node("Round", [ends.resize(values, size, channels=channels, antialias=1, exclude_outside=1)])
    return ends.node("Round", [_smoothly_resized(ends, values, size)])


def _smoothly_resized(ends: Ends, values: str, size: str) -> str:
    """Return the same as products with the weights of each side, for opsets whose Resize cannot average."""
    have = ends.sides(values)
    zero, one = ends.constant(0, np.int64), ends.constant(1, np.int64)
    rows, columns = (
        _weights(ends, ends.node("Gather", [have, each], axis=0), ends.node("Gather", [size, each], axis=0))
        for each in (zero, one)
    )
    across = ends.node("MatMul", [values, ends.node("Transpose", [columns], perm=[1, 0])])
    return ends.node("MatMul", [rows, across])


def _weights(ends: Ends, have: str, want: str) -> str:
    """Return float [want, have]: triangles as wide as a pixel of the smaller picture, each row of sum 1."""
    half, one, zero = (ends.constant(each, np.float32) for each in (0.5, 1, 0))

    def centres(count: str) -> str:
        numbers = ends.node("Range", [ends.constant(0, np.int64), count, ends.constant(1, np.int64)])
        return ends.node("Add", [_floats(ends, numbers), half])

    ratio = ends.node("Div", [_floats(ends, have), _floats(ends, want)])
    width = ends.node("Max", [ratio, one])
    column = ends.node("Reshape", [centres(want), ends.constant([-1, 1], np.int64)])
    apart = ends.node("Sub", [centres(have), ends.node("Mul", [column, ratio])])
    inside = ends.node("Sub", [one, ends.node("Div", [ends.node("Abs", [apart]), width])])
    triangles = ends.node("Max", [inside, zero])
    ones = ends.node("Mul", [ends.node("Reshape", [centres(have), ends.constant([-1, 1], np.int64)]), zero])
    sums = ends.node("MatMul", [triangles, ends.node("Add", [ones, one])])
    return ends.node("Div", [triangles, sums])


def _nearest_multiple(ends: Ends, size: str, multiple: int) -> str:
    step = ends.constant([multiple], np.int64)
    counts = ends.node("Div", [ends.node("Add", [size, ends.constant([multiple // 2], np.int64)]), step])
    return ends.node("Mul", [ends.at_least(counts, 1), step])


def _letterboxed(
    ends: Ends, values: str, frame_size: str, rule: ConvertedInput, opset: int, channels: int
) -> tuple[str, Window]:
    if rule.size is None:
        step, more = ends.constant([rule.multiple], np.int64), ends.constant([rule.multiple - 1], np.int64)
        inner, whole = (
            frame_size,
            ends.node("Mul", [ends.node("Div", [ends.node("Add", [frame_size, more]), step]), step]),
        )
    else:
        whole = ends.constant(rule.size, np.int64)
        sides, targets = (ends.node("Cast", [each], to=TensorProto.DOUBLE) for each in (frame_size, whole))
        ratio = ends.node("ReduceMin", [ends.node("Div", [targets, sides])])
        scaled = ends.node("Mul", [sides, ratio])
        rounded = ends.node("Floor", [ends.node("Add", [scaled, ends.constant(0.5, np.float64)])])
        counts = ends.node("Cast", [rounded], to=TensorProto.INT64)
        inner = ends.at_least(counts, 1)
        values = _resized(ends, values, inner, rule, opset, channels)
    rest = ends.node("Sub", [whole, inner])
    start = ends.node("Div", [rest, ends.constant([2], np.int64)])
    none = ends.constant([0, 0], np.int64)
    pads = ends.node("Concat", [none, start, none, ends.node("Sub", [rest, start])], axis=0)
    padded = ends.node("Pad", [values, pads, ends.constant(rule.fill, np.float32)], mode="constant")
    return padded, Window(start, inner)


def _normalised(ends: Ends, values: str, rule: ConvertedInput) -> str:
    def planes(numbers: tuple[float, ...]) -> str:
        return ends.constant(np.reshape(numbers, (1, -1, 1, 1)), np.float32)

    if rule.scale != 1:
        values = ends.node("Mul", [values, ends.constant(rule.scale, np.float32)])
    if any(rule.mean):
        values = ends.node("Sub", [values, planes(rule.mean)])
    if any(each != 1 for each in rule.std):
        values = ends.node("Div", [values, planes(rule.std)])
    return values
