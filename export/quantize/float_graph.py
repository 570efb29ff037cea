"""A float graph made ready for eight bits: constants folded, layers joined, and written so that they stay in integers.

ONNX Runtime runs a layer in eight bits where a quantised operator of its own stands for it. What has none, but a twin
that has one, is rewritten here; the values stay the same, but for the rounding of floats.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from arseg_edge.errors import OperatorError, reason_of
from arseg_edge.operators import DOMAIN

_STANDARD = ("", "ai.onnx")


def folded(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return ``model`` with constants folded and batch norms inside convolutions, by ONNX Runtime itself.

    Custom operators and their bodies stay as they are: ONNX Runtime, which would write the bodies in their place, gets
    to see the graph between them alone.

    Raises:
        OperatorError: ONNX Runtime does not take the graph; ``name`` is the graph's, for the message.
    """
    between, kept = _without_custom_nodes(model)
    _shapes_behind(between.graph)
    between = _optimised(between, name)
    graph = onnx.GraphProto()
    graph.CopyFrom(between.graph)
    for field, mine in ((graph.input, model.graph.input), (graph.output, model.graph.output)):
        del field[:]
        field.extend(mine)
    graph.name = model.graph.name
    have = {each.name for each in graph.initializer}
    wanted = {each for node in kept for each in node.input}
    graph.initializer.extend(each for each in model.graph.initializer if each.name in wanted - have)
    graph.node.extend(kept)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    result.graph.CopyFrom(graph)
    _to_quantisable(result.graph)
    _name_nodes(result.graph)
    keep_values(result.graph, model.graph.value_info)
    sort_nodes(result.graph)
    return result


def keep_values(graph: onnx.GraphProto, known: Iterable[onnx.ValueInfoProto]) -> None:
    """Let a graph say of its inner values what is ``known`` of them, as far as it still has them, and no more."""
    made = {each for node in graph.node for each in node.output}
    kept = [onnx.ValueInfoProto.FromString(each.SerializeToString()) for each in known if each.name in made]
    del graph.value_info[:]
    graph.value_info.extend(kept)


def _without_custom_nodes(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[onnx.NodeProto]]:
    """Return the graph between the custom operators, whose ends become its ends, and these."""
    kept = [node for node in model.graph.node if node.domain == DOMAIN]
    between = onnx.ModelProto()
    between.CopyFrom(model)
    graph = between.graph
    del between.functions[:]
    rest = [node for node in graph.node if node.domain != DOMAIN]
    del graph.node[:]
    graph.node.extend(rest)
    known = {each.name: each for each in (*graph.value_info, *graph.input, *graph.output)}
    made = {each for node in rest for each in node.output if each}
    used = {each for node in rest for each in node.input if each}
    outputs = [each.name for each in graph.output if each.name in made]
    outputs += [each for node in kept for each in node.input if each in made]
    inputs = [each.name for each in graph.input if each.name in used]
    inputs += [each for node in kept for each in node.output if each in used]
    # Custom operators give float32 to the network; of what they take, ONNX Runtime finds the type.
    for field, names, kind in ((graph.input, inputs, TensorProto.FLOAT), (graph.output, outputs, None)):
        values = [known.get(each) or _value(each, kind) for each in dict.fromkeys(names)]
        copies = [onnx.ValueInfoProto.FromString(each.SerializeToString()) for each in values]
        del field[:]
        field.extend(copies)
    del graph.value_info[:]
    return between, kept


def _value(name: str, kind: int | None) -> onnx.ValueInfoProto:
    """Return a value of which no more is known than its type, or not even that."""
    return onnx.ValueInfoProto(name=name) if kind is None else helper.make_tensor_value_info(name, kind, None)


def _optimised(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise OperatorError(
                f"{name}: ONNX Runtime does not load it ({reason_of(error)}): export it again"
            ) from None
        return onnx.load(path)


_SAME_SHAPE = ("BatchNormalization", "Relu", "PRelu", "LeakyRelu", "Clip", "Sigmoid")


def _shapes_behind(graph: onnx.GraphProto) -> None:
    """Ask for shapes behind batch norms and activations, not before: these then join the layer before them."""
    for shape in [node for node in graph.node if node.op_type == "Shape"]:
        while True:
            behind = [node for node in graph.node if node.op_type in _SAME_SHAPE and node.input[0] == shape.input[0]]
            if len(behind) != 1:
                break
            shape.input[0] = behind[0].output[0]
    sort_nodes(graph)


def _to_quantisable(graph: onnx.GraphProto) -> None:
    """Write operators that ONNX Runtime has no eight-bit form of as others that it has one of."""
    constants = constants_of(graph)
    for node in graph.node:
        if node.domain not in _STANDARD:
            continue
        if node.op_type == "Conv" and len(node.input) == 2 and node.input[1] in constants:
            # A place for what rounding the weights adds on average.
            bias = np.zeros(constants[node.input[1]].shape[0], np.float32)
            node.input.append(f"{node.output[0]}_bias")
            graph.initializer.append(numpy_helper.from_array(bias, node.input[2]))
        if node.op_type == "PRelu":
            slope = constants.get(node.input[1])
            if slope is not None and slope.size == 1 and slope.dtype == np.float32:
                _become(node, "LeakyRelu", alpha=float(slope.reshape(-1)[0]))
        elif node.op_type == "ReduceMean" and _over_the_picture(node, constants):
            _become(node, "GlobalAveragePool")


def _become(node: onnx.NodeProto, op_type: str, **attributes: float) -> None:
    new = helper.make_node(op_type, node.input[:1], list(node.output), node.name)
    new.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    node.CopyFrom(new)


def _over_the_picture(node: onnx.NodeProto, constants: dict[str, NDArray[np.generic]]) -> bool:
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    axes = attributes.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1] in constants:
        axes = constants[node.input[1]].tolist()
    # Of four axes, the last two; a graph that counts from behind may have others before them.
    return axes is not None and sorted(axes) in ([2, 3], [-2, -1]) and attributes.get("keepdims", 1) == 1


def constants_of(graph: onnx.GraphProto) -> dict[str, NDArray[np.generic]]:
    """Return the graph's constants by name."""
    return {each.name: numpy_helper.to_array(each) for each in graph.initializer}


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a name of its own: layers are named by it."""
    taken = Counter(node.name for node in graph.node)
    names = {name for name, count in taken.items() if count == 1 and name}
    for node in graph.node:
        if node.name in names:
            continue
        base = node.name or f"{node.op_type}_{next((each for each in node.output if each), 'none')}"
        name, number = base, 1
        while name in names or (name in taken and name != node.name):
            name, number = f"{base}_{number}", number + 1
        node.name = name
        names.add(name)


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Put every node behind those whose values it takes, otherwise in the order in which they stand."""
    nodes = list(graph.node)
    made = {each for node in nodes for each in node.output if each}
    ready, ordered = set[str](), list[onnx.NodeProto]()
    while nodes:
        rest = []
        for node in nodes:
            if all(each in ready or each not in made for each in _taken(node)):
                ordered.append(node)
                ready.update(node.output)
            else:
                rest.append(node)
        if len(rest) == len(nodes):
            raise ValueError(f"nodes take each other's values: {', '.join(node.name for node in rest[:3])}")
        nodes = rest
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(copies)


def _taken(node: onnx.NodeProto) -> Iterable[str]:
    """Return the names of the values that a node takes, also in its subgraphs."""
    yield from node.input
    for attribute in node.attribute:
        graphs: Sequence[onnx.GraphProto] = [*attribute.graphs, attribute.g]
        for graph in graphs:
            for inner in graph.node:
                yield from _taken(inner)
