"""The last layer of an LR network as a graph of its own, cut out of the graph that fuses (``graph_ends.py``)."""

from __future__ import annotations

import onnx
from onnx import helper

from arseg_edge.export.graph_ends import LABELS, LR_FEATURE, drop_unused
from arseg_edge.export.operators.bodies import attach_bodies
from arseg_edge.operators import CREFF, CREFF_UINT8, SEGMENTATION_LABELS


def head_of(nonkeyframe: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``head.onnx`` of a branch's ``nonkeyframe.onnx``, with the same weights and the same rule for labels."""
    head = onnx.ModelProto()
    head.CopyFrom(nonkeyframe)
    graph = head.graph
    (creff,) = (node for node in graph.node if node.op_type in (CREFF, CREFF_UINT8))
    # ``operators/creff.py``: the weight and bias of a 1×1 layer come after the three convolutions'; a larger one comes
    # after the operator (``graphs.py``).
    layer = helper.make_node("Conv", [LR_FEATURE, *creff.input[9:11]], creff.output[:1], "last_layer")
    creff.CopyFrom(layer)
    for node in [node for node in graph.node if LR_FEATURE in node.output]:
        graph.node.remove(node)
    (labels_node,) = (node for node in graph.node if node.op_type == SEGMENTATION_LABELS)
    del labels_node.input[2:], labels_node.output[1:]  # nobody asks the head how sure it is
    values = {each.name: each for each in (*graph.input, *graph.output)}
    feature, labels_size, labels = (
        onnx.ValueInfoProto.FromString(values[name].SerializeToString()) for name in (LR_FEATURE, "labels_size", LABELS)
    )
    for axis, side in zip(feature.type.tensor_type.shape.dim[2:], ("height", "width"), strict=True):
        axis.dim_param = f"lr_feature_{side}"
    del graph.input[:], graph.output[:], head.functions[:]
    graph.input.extend([feature, labels_size])
    graph.output.append(labels)
    drop_unused(graph)
    attach_bodies(head)
    onnx.checker.check_model(head)
    return head
