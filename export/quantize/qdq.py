"""QuantizeLinear and DequantizeLinear around the layers of a float graph, by ``onnxruntime.quantization``.

Activations are uint8 with a zero point, weights int8 of seven bits for each output channel. x86-64 without VNNI adds
two products of uint8 and int8 in 16 bits; with seven bits 2·255·64 = 32 640 fits, with eight it would saturate.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from arseg_edge.export.quantize.float_graph import keep_values, sort_nodes
from arseg_edge.export.quantize.ranges import Ranges
from arseg_edge.operators import DOMAIN

WEIGHT_BITS: Final = 7

LAYERS: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators with weights: what is called a layer."""

_OTHERS: Final = frozenset(
    {
        "Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Mul", "Relu",
        "Reshape", "Resize", "Sigmoid", "Squeeze", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Operators that ONNX Runtime runs on bytes between layers that do."""

_INFERRED: Final = {"onnx.infer": "onnxruntime.quant"}
"""Tells the quantiser that types are known already: its own inference does not know the custom operators."""


def candidates(model: onnx.ModelProto, floats: Collection[str]) -> list[str]:
    """Return the names of the nodes that could run in eight bits; ``floats`` are the graph's values of float32.

    The layers that make the logits stay float: they are small, and what they give is compared class with class.
    """
    constants = {each.name for each in model.graph.initializer}
    last = {"logits", *(value for node in model.graph.node if node.domain == DOMAIN for value in node.input)}
    found = []
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in LAYERS | _OTHERS:
            continue
        # Of the others only the first input is a picture for certain: Resize has sizes, Reshape a shape.
        pictures = node.input if node.op_type in ("Add", "Mul", "Concat", "MatMul") else node.input[:1]
        if not all(each in floats or each in constants for each in (*pictures, *node.output)):
            continue
        # ``lr_feature`` goes into the fusion, which has a network before it; logits have one layer, and that is small.
        ends = set(node.output) & (last - {"lr_feature"})
        if node.op_type in LAYERS and (node.input[1] not in constants or ends):
            continue
        found.append(node.name)
    return found


def layers_of(model: onnx.ModelProto, names: Collection[str]) -> list[str]:
    """Return those of ``names`` that are layers, in the graph's order."""
    return [node.name for node in model.graph.node if node.name in names and node.op_type in LAYERS]


def watched_values(model: onnx.ModelProto, nodes: Collection[str], floats: Collection[str]) -> list[str]:
    """Return the values whose ranges are needed to quantise ``nodes``."""
    watched: dict[str, None] = {}
    for node in model.graph.node:
        if node.name in nodes:
            watched |= dict.fromkeys(each for each in (*node.input, *node.output) if each in floats)
    # What a ReLU alone takes is never stored: it is part of the layer before.
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for each in node.input:
            consumers.setdefault(each, []).append(node)
    outputs = {each.name for each in model.graph.output}
    return [
        each
        for each in watched
        if each in outputs
        or [(node.op_type, node.name in nodes) for node in consumers.get(each, [])] != [("Relu", True)]
    ]


def quantised(
    model: onnx.ModelProto, nodes: Iterable[str], ranges: Ranges, *, float_layers: Collection[str] = ()
) -> onnx.ModelProto:
    """Return ``model`` with ``nodes`` in eight bits, but for ``float_layers`` and what lies between float layers."""
    chosen = _beside_layers(model, set(nodes) - set(float_layers))
    work = onnx.ModelProto()
    work.CopyFrom(model)
    if not chosen:
        return work
    have = {each.name for each in (*work.graph.input, *work.graph.output, *work.graph.value_info)}
    ranges = dict(ranges)
    for node in work.graph.node:
        # What a ReLU takes has the range of what it gives.
        if node.op_type == "Relu" and node.name in chosen and node.input[0] not in ranges:
            ranges[node.input[0]] = ranges[node.output[0]]
    work.graph.value_info.extend(
        helper.make_tensor_value_info(each, TensorProto.FLOAT, None) for each in ranges if each not in have
    )
    props = {each.key: each.value for each in model.metadata_props}
    helper.set_model_props(work, {**props, **_INFERRED})
    quantiser = QDQQuantizer(
        work,
        per_channel=True,
        reduce_range=WEIGHT_BITS == 7,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, dict(_arrays(ranges))),
        nodes_to_quantize=sorted(chosen),
        nodes_to_exclude=[],
        op_types_to_quantize=sorted(LAYERS | _OTHERS),
        extra_options={},
    )
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        quantiser.quantize_model()
    finally:
        logging.root.setLevel(level)
    result: onnx.ModelProto = quantiser.model.model
    result.producer_name, result.producer_version = model.producer_name, model.producer_version
    del result.functions[:]
    result.functions.extend(model.functions)
    del result.opset_import[:]
    result.opset_import.extend(model.opset_import)
    keep_values(result.graph, model.graph.value_info)
    del result.metadata_props[:]
    helper.set_model_props(result, props)
    sort_nodes(result.graph)
    return result


def _arrays(ranges: Ranges) -> Iterable[tuple[str, tuple[object, object]]]:
    for name, (low, high) in ranges.items():
        yield name, (np.array(low, np.float32), np.array(high, np.float32))


def _beside_layers(model: onnx.ModelProto, nodes: set[str]) -> set[str]:
    """Return ``nodes`` without those that touch no layer among them, directly or through each other."""
    chosen = {node.name for node in model.graph.node if node.name in nodes and node.op_type in LAYERS}
    rest = [node for node in model.graph.node if node.name in nodes and node.name not in chosen]
    values = {each for node in model.graph.node if node.name in chosen for each in (node.input[0], *node.output)}
    while True:
        beside = [node for node in rest if values.intersection(node.input) or values.intersection(node.output)]
        # Through another operator bytes go on to what takes them; what gives to a float layer alone stays float.
        beside = [node for node in beside if node.name not in chosen]
        if not beside:
            return chosen
        for node in beside:
            chosen.add(node.name)
            values.update(node.output)
