"""What stands at the end of a model: an argmax, a softmax, a resize, which a bundle's own end may take the place of.

Networks compute at a stride, and many models then enlarge what they have to the picture's size, class for class. Labels
of the same picture can be had of the smaller numbers at a fraction of the time, and moved labels want them, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import onnx
from numpy.typing import NDArray
from onnx import helper

from arseg_edge.export.convert.class_output import ClassOutput
from arseg_edge.export.convert.probing import Size
from arseg_edge.export.convert.request import Layout

_SAME_VALUES: Final = ("Identity", "Cast", "Squeeze", "Unsqueeze")
_SAME_ORDER: Final = ("Softmax", "LogSoftmax", "Sigmoid")
"""They leave the largest of several numbers the largest."""
LARGEST_UPSCALE: Final = 64

_SAME_SHARES: Final = (*_SAME_VALUES, "Resize", "Transpose", "Reshape")


@dataclass(frozen=True)
class Source:
    """A value inside a model that its class output is made of: [1, channels, h, w], or [1, h, w, channels]."""

    value: str
    layout: Layout
    size: Size
    upscale: int | None
    """It is enlarged so many times, bilinearly with half-pixel centres; None: in a way that is not exactly that."""
    align_corners: bool
    sigmoid: bool
    """A sigmoid stands behind it."""


def inner_values(graph: onnx.GraphProto, outputs: list[str]) -> list[str]:
    """Return the values that a source may turn out to be, for a run that gives them too."""
    return [name for output in outputs for name in _chain_values(graph, output)]


def _chain(graph: onnx.GraphProto, value: str) -> list[onnx.NodeProto]:
    """Return the nodes at the end of a graph, from the output backwards, as far as each has one input that counts."""
    makers = {name: node for node in graph.node for name in node.output if name}
    found: list[onnx.NodeProto] = []
    while value in makers and len(found) < 16:
        node = makers[value]
        if node.domain not in ("", "ai.onnx") or node.op_type not in (*_SAME_VALUES, *_SAME_ORDER, "ArgMax", "Resize"):
            break
        found.append(node)
        value = node.input[0]
    return found


def _chain_values(graph: onnx.GraphProto, value: str) -> list[str]:
    given = {each.name for each in (*graph.input, *graph.output)}
    return [node.input[0] for node in _chain(graph, value) if node.input[0] not in given]


def source_of(graph: onnx.GraphProto, output: ClassOutput, values: Mapping[str, NDArray[Any]]) -> Source | None:
    """Return the value that an output is made of; None where there is none that is better than the output itself.

    ``values`` are those of ``inner_values`` and the outputs, of one run.
    """
    layout, sigmoid, enlarged = output.layout, False, False
    best: Source | None = None
    for node in _chain(graph, output.name):
        value = node.input[0]
        array = values.get(value)
        if array is None:
            break
        if node.op_type == "ArgMax":
            if output.kind != "labels" or array.ndim != 4 or array.dtype.kind != "f":
                break
            axis = int(_attributes(node).get("axis", 0)) % 4
            if axis not in (1, 3):
                break
            layout = "nchw" if axis == 1 else "nhwc"
            best = _source(value, array, layout, 1, False, False)
        elif node.op_type == "Resize":
            if enlarged or layout != "nchw" or array.ndim != 4 or not _is_bilinear(node):
                break
            enlarged, made = True, values[node.output[0]]
            best = _source(value, array, layout, _factor(node, array, made), _aligned(node), sigmoid)
        elif node.op_type in _SAME_ORDER:
            if output.kind == "labels" and best is None:
                break
            if node.op_type == "Sigmoid" and output.kind == "logits":
                break
            sigmoid = sigmoid or node.op_type == "Sigmoid"
            if node.op_type != "Sigmoid" and not _over_classes(node, array, layout):
                break
    if best is None or (output.kind != "labels" and not enlarged):
        return None
    return best


def ends_in_sigmoid(graph: onnx.GraphProto, value: str) -> bool:
    """Whether a sigmoid is the last thing that changes numbers before a value."""
    makers = {name: node for node in graph.node for name in node.output if name}
    while value in makers and makers[value].op_type in _SAME_SHARES:
        value = makers[value].input[0]
    return value in makers and makers[value].op_type in ("Sigmoid", "HardSigmoid")


def _source(
    value: str, array: NDArray[Any], layout: Layout, upscale: int | None, align_corners: bool, sigmoid: bool
) -> Source:
    rows, columns = array.shape[2:] if layout == "nchw" else array.shape[1:3]
    return Source(value, layout, (rows, columns), upscale, align_corners, sigmoid)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _over_classes(node: onnx.NodeProto, array: NDArray[Any], layout: Layout) -> bool:
    axis = int(_attributes(node).get("axis", -1))
    return axis % array.ndim == (1 if layout == "nchw" else array.ndim - 1)


def _mode(node: onnx.NodeProto) -> str:
    mode: bytes = _attributes(node).get("coordinate_transformation_mode", b"half_pixel")
    return mode.decode()


def _aligned(node: onnx.NodeProto) -> bool:
    return _mode(node) == "align_corners"


def _is_bilinear(node: onnx.NodeProto) -> bool:
    attributes = _attributes(node)
    known = _mode(node) in ("half_pixel", "pytorch_half_pixel", "align_corners")
    return attributes.get("mode", b"nearest") == b"linear" and known and not attributes.get("antialias", 0)


def _factor(node: onnx.NodeProto, small: NDArray[Any], large: NDArray[Any]) -> int | None:
    """How many times a Resize with half-pixel centres enlarges both sides; None where it is another, or not whole."""
    factors = {(large.shape[axis] / small.shape[axis]) for axis in (2, 3)}
    factor = factors.pop()
    if factors or _aligned(node) or factor != int(factor) or not 1 <= factor <= LARGEST_UPSCALE:
        return None
    return int(factor)
