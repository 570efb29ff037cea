"""Multiply-accumulates of a model, counted while it runs: shapes are then what they are."""

from __future__ import annotations

import math
from typing import Any, Final

import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from arseg_edge.errors import ModelError, reason_of
from arseg_edge.export.convert.given_model import GivenModel
from arseg_edge.export.convert.image_input import ImageInput

_CONVOLUTIONS: Final = ("Conv", "ConvInteger", "QLinearConv")
_PRODUCTS: Final = ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul")
_WEIGHT: Final = {"QLinearConv": 3, "QLinearMatMul": 3}
"""Where the second operand is, which otherwise is input 1."""


def count_macs(given: GivenModel, picture: ImageInput, image: NDArray[Any]) -> int:
    """Return those of convolutions and matrix products for one picture; those inside loops and branches are left out.

    Raises:
        ModelError: the model does not run.
    """
    model = onnx.ModelProto()
    model.CopyFrom(given.proto)
    graph, counted = model.graph, []
    wanted: list[str] = []
    for node in list(graph.node):
        if node.op_type not in (*_CONVOLUTIONS, *_PRODUCTS, "ConvTranspose"):
            continue
        names = []
        for value in (node.input[0], node.input[_WEIGHT.get(node.op_type, 1)], node.output[0]):
            names.append(f"arseg/shape_{len(wanted)}")
            wanted.append(names[-1])
            graph.node.append(helper.make_node("Shape", [value], [names[-1]]))
        counted.append((node.op_type, {each.name: helper.get_attribute_value(each) for each in node.attribute}, names))
    if not counted:
        return 1
    del graph.output[:]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        shapes = dict(zip(wanted, session.run(wanted, {picture.name: image}), strict=True))
    except Exception as error:
        raise ModelError(
            f"{given.name}: its arithmetic cannot be counted ({reason_of(error)}): export it again"
        ) from None
    return max(
        1,
        sum(
            _macs(operator, attributes, [shapes[name].tolist() for name in names])
            for operator, attributes, names in counted
        ),
    )


def _macs(operator: str, attributes: dict[str, Any], shapes: list[list[int]]) -> int:
    first, second, output = shapes
    if operator in _CONVOLUTIONS:
        return math.prod(output) * math.prod(second[1:])
    if operator == "ConvTranspose":
        return math.prod(first) * math.prod(second[1:])
    depth = first[0] if operator == "Gemm" and attributes.get("transA") else first[-1]
    return math.prod(output) * depth
