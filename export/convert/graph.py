"""A converted model's ``keyframe.onnx``: the model's own graph between two ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import onnx
from onnx import TensorProto, compose, helper

from arseg_edge.export.convert.back import LABELS, LOGITS, Back, put_back
from arseg_edge.export.convert.ends import Ends
from arseg_edge.export.convert.front import put_front
from arseg_edge.export.convert.given_model import GivenModel
from arseg_edge.export.convert.image_input import ImageInput
from arseg_edge.export.convert.probing import Size
from arseg_edge.export.operators.segmentation_labels import CONFIDENCE, declare_confidence
from arseg_edge.manifest import ConvertedInput, LabelRule
from arseg_edge.operators import DOMAIN, VERSION

PREFIX: Final = "model/"
"""Of the given model's values and nodes."""

_OLDEST_IR: Final = 8
"""The first with functions inside a model."""
_IR_OF_OLDEST_RUNTIME: Final = 9


@dataclass(frozen=True, eq=False)
class KeyframeGraph:
    """The graph, and how moved labels are made of its logits; None where it gives none."""

    model: onnx.ModelProto
    rule: LabelRule | None


def keyframe_graph(
    given: GivenModel, picture: ImageInput, rule: ConvertedInput, back: Back, seen: Size, facts: Mapping[str, str]
) -> KeyframeGraph:
    """Put the ends on a model; ``seen`` is a size of its picture, at which ``back`` has its sizes."""
    model = onnx.ModelProto()
    model.CopyFrom(given.proto)
    _drop_notes(model)
    compose.add_prefix(model, PREFIX, rename_functions=False, inplace=True)
    front, behind = Ends("front"), Ends("back")
    image = f"{PREFIX}{picture.name}"
    window = put_front(front, rule, picture, given.opset, image)
    wanted = [back.output.name, *([back.source.value] if back.source is not None else [])]
    value_of = {name: f"{PREFIX}{name}" for name in wanted}
    if window is not None:
        value_of["picture size"] = behind.sides(image, last=picture.layout == "nhwc")
    label_rule, body = put_back(behind, back, value_of, seen, window, given.opset)
    graph = model.graph
    nodes = [*front.nodes, *graph.node, *behind.nodes]
    outputs = [LABELS, *([LOGITS] if label_rule is not None else []), *([CONFIDENCE] if back.functions else [])]
    kept = _needed(nodes, outputs)
    _replace(graph, kept, [*graph.initializer, *front.constants, *behind.constants])
    del graph.input[:], graph.output[:], graph.value_info[:]
    frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, "height", "width", 3])
    graph.input.extend([frame, helper.make_tensor_value_info("labels_size", TensorProto.INT64, [2])])
    graph.output.append(helper.make_tensor_value_info(LABELS, TensorProto.UINT8, [1, "labels_height", "labels_width"]))
    if label_rule is not None:
        shape: list[str | int | None] = [1, back.classes, "logits_height", "logits_width"]
        graph.output.append(helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, shape))
    if back.functions:
        declare_confidence(graph)
    if body is not None:
        model.functions.append(body)
        model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    model.ir_version = max(
        _OLDEST_IR, min(model.ir_version, _IR_OF_OLDEST_RUNTIME) if given.opset <= 20 else model.ir_version
    )
    model.producer_name, model.producer_version = "arseg-edge", ""
    helper.set_model_props(model, dict(facts))
    return KeyframeGraph(model, label_rule)


def _drop_notes(model: onnx.ModelProto) -> None:
    """Remove what exporters note of their own: stack traces with the paths of the machine they ran on."""
    model.ClearField("doc_string")
    model.ClearField("metadata_props")
    model.ClearField("training_info")
    functions = [node for each in model.functions for node in each.node]
    for message in (model.graph, *model.functions, *model.graph.node, *functions, *model.graph.initializer):
        message.ClearField("metadata_props")
        message.ClearField("doc_string")


def used_by(node: onnx.NodeProto) -> Iterator[str]:
    """Yield the values that a node, or a graph inside it, uses."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from used_by(inner)
            yield from (each.name for each in graph.output)


def _needed(nodes: list[onnx.NodeProto], outputs: list[str]) -> list[onnx.NodeProto]:
    """Return copies of the nodes that the outputs need, in their order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            wanted.update(used_by(node))
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            kept.append(copy)
    return kept[::-1]


def _replace(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> None:
    """Give a graph these nodes, and those of the constants that they use."""
    used = {name for node in nodes for name in used_by(node)}
    del graph.node[:]
    graph.node.extend(nodes)
    own = {each.name for each in graph.initializer}
    graph.initializer.extend(each for each in constants if each.name not in own and each.name in used)
    for unused in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(unused)
