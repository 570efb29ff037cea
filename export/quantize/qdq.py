"""QuantizeLinear and DequantizeLinear around the layers of a float graph, by ``onnxruntime.quantization``.

Activations are uint8 with a zero point, weights int8 of seven bits for each output channel. x86-64 without VNNI adds
two products of uint8 and int8 in 16 bits; with seven bits 2·255·64 = 32 640 fits, with eight it would saturate.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
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


def layers_work(model: onnx.ModelProto, names: Collection[str], elements: Mapping[str, int]) -> dict[str, float]:
    """Return about how many multiplications each layer is; ``elements`` says how many numbers a layer takes."""
    weights = {each.name: each.dims for each in model.graph.initializer}
    work = {}
    for node in model.graph.node:
        if node.name in names:
            strides = next((each.ints for each in node.attribute if each.name == "strides"), [1])
            dims = weights[node.input[1]]
            # Of [out, in, h, w] each number that is taken meets out·h·w, or fewer where the kernel strides.
            work[node.name] = elements[node.input[0]] * math.prod(dims) / dims[1] / math.prod(strides)
    return work


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
    _keep_in_float(result.graph, set(float_layers))
    sort_nodes(result.graph)
    return result


def _keep_in_float(graph: onnx.GraphProto, layers: Collection[str]) -> None:
    """Let ONNX Runtime compute ``layers`` in float.

    Newer ones quantise the weights of whatever layer lies between DequantizeLinear and QuantizeLinear, with or without
    a ReLU, by a single scale and eight bits. With LeakyRelu behind it, which is part of the layer where it runs, it is
    no such layer: a slope of 0 is ReLU, and one of 1 changes nothing.
    """
    outputs = {each.name for each in graph.output}
    for layer in [node for node in graph.node if node.name in layers]:
        takers = [node for node in graph.node if layer.output[0] in node.input]
        if len(takers) != 1 or layer.output[0] in outputs:
            continue
        (taker,) = takers
        if taker.op_type == "Relu":
            leaky = helper.make_node("LeakyRelu", taker.input, taker.output, taker.name, alpha=0.0)
            taker.CopyFrom(leaky)
        elif taker.op_type == "QuantizeLinear":
            value = layer.output[0]
            layer.output[0] = f"{value}_in_float"
            graph.node.append(
                helper.make_node("LeakyRelu", layer.output, [value], f"{layer.name}_stays_in_float", alpha=1.0)
            )


def correct_biases(model: onnx.ModelProto, original: onnx.ModelProto, means: Mapping[str, NDArray[np.float64]]) -> None:
    """Take from the biases of quantised convolutions what rounding the weights adds to each channel on average.

    ``means`` has the means of the channels of what the layers of ``original`` take.
    """
    graph = model.graph
    stored = {each.name: each for each in graph.initializer}
    wanted = {node.name: node for node in original.graph.node}
    weights = {each.name: each for each in original.graph.initializer}
    makers = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    for node in [node for node in graph.node if node.op_type == "Conv" and len(node.input) == 3]:
        before = wanted[node.name]
        weight, bias = makers.get(node.input[1]), makers.get(node.input[2])
        mean = means.get(before.input[0])
        if weight is None or bias is None or mean is None:
            continue
        exact = numpy_helper.to_array(weights[before.input[1]]).astype(np.float64)
        if exact.shape[1] != mean.size:
            continue  # of several groups: each of its channels sees few weights, which are rounded finely
        rounded, scale = (numpy_helper.to_array(stored[name]).astype(np.float64) for name in weight.input[:2])
        error = (rounded * scale.reshape(-1, *[1] * (rounded.ndim - 1)) - exact).sum(axis=(2, 3)) @ mean
        biases, unit = (numpy_helper.to_array(stored[name]) for name in bias.input[:2])
        limit = np.iinfo(np.int32)
        corrected = np.clip(biases - np.rint(error / unit.astype(np.float64)), limit.min, limit.max)
        stored[bias.input[0]].CopyFrom(numpy_helper.from_array(corrected.astype(np.int32), bias.input[0]))


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
