"""The ends of a bundle's graphs, in ONNX: from bytes to the normalised image, from logits to labels.

Bundle format 2 (``manifest.FORMAT_VERSION``). All sizes are int64 [2], (height, width)::

    keyframe.onnx       frame uint8 [1, H, W, 3], labels_size, confidence_size
                        → labels uint8 [1, *labels_size], feature [1, C, h, w], logits [1, n, h, w],
                        confidence uint8 [1, *confidence_size]
    nonkeyframe.onnx    frame uint8 [1, any, any, 3], keyframe_feature [1, C, h, w],
                        motion float32 [1, a, b, 2], frame_size, labels_size, confidence_size
                        → labels uint8 [1, *labels_size], logits [1, n, h, w], lr_feature [1, C, h', w'],
                        confidence uint8 [1, *confidence_size]
    head.onnx           lr_feature [1, C, h', w'], labels_size → labels uint8 [1, *labels_size]

``frame_size`` is the (H, W) that the keyframe's graph ran at: LR runs at int(H·scale) × int(W·scale). The frame
may be of any size: at H×W it is resized to LR's size as in training, at LR's size it is taken as it is, so that
whoever decodes can convert straight to the smaller picture. ``motion`` lies on a grid of its own, in cells of
that grid; on the grid H×W that is pixels. Labels are made from the logits at ``labels_size``, which may be the size
of a picture that the frame was resized from. ``head.onnx`` is the LR network's last layer without the fusion: what LR
alone would say.

``confidence_size`` is ``labels_size``, or (0, 0) where nobody asks how sure the labels are, which costs nothing
(``operators/segmentation_labels.py``). It must always be given: of an input with a default, OpenVINO takes the default
whatever is given, and ONNX Runtime for the web lets nothing be given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from arseg_edge.export.families import Family
from arseg_edge.export.operators.normalize_image import normalize_image_node
from arseg_edge.export.operators.segmentation_labels import declare_confidence, segmentation_labels_node

LABELS = "labels"
"""The graphs' first output."""
IMAGE, LOGITS = "image", "logits"
"""What the network takes, an inner value, and what its last layer gives, for frames that draw on this one."""
LR_FEATURE = "lr_feature"
"""What the LR network gives, before the fusion: for ``head.onnx``, and to be compared."""

_LABELS_SIZE, _FRAME_SIZE, _LR_SIZE = "labels_size", "frame_size", "lr_size"


def put_keyframe_ends(graph: onnx.GraphProto, family: Family) -> None:
    """Make a graph that takes ``image`` and has the value ``logits`` take ``frame`` and give ``labels`` first."""
    height, width = _take_image(graph)
    size = helper.make_node("Shape", ["frame"], ["frame_shape"], "frame_shape", start=1, end=3)
    _put(graph, family, [size], "frame_shape")
    frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, height, width, 3])
    declare_sizes(graph, [frame])
    declare_confidence(graph)


def put_nonkeyframe_ends(graph: onnx.GraphProto, family: Family, scale: float) -> None:
    """The same for LR and its fusion, which take ``image``, ``keyframe_feature`` and ``motion``."""
    _take_image(graph)
    _put(graph, family, lr_size_nodes(graph, scale), _LR_SIZE)
    frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, [1, "picture_height", "picture_width", 3])
    declare_sizes(graph, [frame, *graph.input], frame_size=True)
    declare_confidence(graph)


def lr_size_nodes(graph: onnx.GraphProto, scale: float) -> list[onnx.NodeProto]:
    """Return the nodes that make ``lr_size`` of ``frame_size``; the scale is put into the graph.

    In double precision and cut off, as ``lr_size.py`` has it: 0.7 of 60 is 42, which single precision misses.
    """
    graph.initializer.append(numpy_helper.from_array(np.array(scale, np.float64), "lr_scale"))
    return [
        helper.make_node("Cast", [_FRAME_SIZE], ["frame_size_double"], "frame_size_double", to=TensorProto.DOUBLE),
        helper.make_node("Mul", ["frame_size_double", "lr_scale"], ["lr_size_double"], "lr_size_double"),
        helper.make_node("Cast", ["lr_size_double"], [_LR_SIZE], _LR_SIZE, to=TensorProto.INT64),
    ]


def declare_sizes(graph: onnx.GraphProto, inputs: Sequence[onnx.ValueInfoProto], *, frame_size: bool = False) -> None:
    """Declare ``inputs``, the sizes after them, and the labels of the size that is asked for as the first output."""
    names = [_FRAME_SIZE, _LABELS_SIZE] if frame_size else [_LABELS_SIZE]
    sizes = [helper.make_tensor_value_info(name, TensorProto.INT64, [2]) for name in names]
    labels = helper.make_tensor_value_info(LABELS, TensorProto.UINT8, [1, "labels_height", "labels_width"])
    _replace(graph.input, [*inputs, *sizes])
    _replace(graph.output, [labels, *(each for each in graph.output if each.name != LABELS)])


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and constants that no output needs any more, such as what made the labels' size."""
    while True:
        used = {each.name for each in graph.output} | {name for node in graph.node for name in node.input}
        unused = [node for node in graph.node if used.isdisjoint(node.output)]
        if not unused:
            break
        for node in unused:
            graph.node.remove(node)
    for constant in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(constant)
    made = {name for node in graph.node for name in node.output}
    for value in [each for each in graph.value_info if each.name not in made]:
        graph.value_info.remove(value)


def _take_image(graph: onnx.GraphProto) -> list[int | str]:
    """Make the first input, the image, an inner value; return its height and width, names where they are open."""
    image = graph.input[0]
    graph.value_info.append(image)
    del graph.input[0]
    return [axis.dim_param or axis.dim_value for axis in image.type.tensor_type.shape.dim[2:]]


def _put(graph: onnx.GraphProto, family: Family, size_nodes: Sequence[onnx.NodeProto], size: str) -> None:
    normalise = normalize_image_node("frame", size, IMAGE, mean=family.mean, std=family.std)
    labels = segmentation_labels_node(LOGITS, _LABELS_SIZE, LABELS, **family.label_rule, confidence=True)
    _replace(graph.node, [*size_nodes, normalise, *graph.node, labels])


def _replace(field: Any, messages: Sequence[Any]) -> None:
    """Give a repeated field other messages, some of which may be its own."""
    kept = [type(each)() for each in messages]
    for copy, each in zip(kept, messages, strict=True):
        copy.CopyFrom(each)
    del field[:]
    field.extend(kept)
