"""The ends of quantised graphs in bytes: what the first layer takes, and the keyframe's feature for the fusion.

Bytes that the network makes or takes anyway are handed on as they are, in place of floats four times as large.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from arseg_edge.export.operators.bodies import attach_bodies
from arseg_edge.export.quantize.float_graph import constants_of
from arseg_edge.operators import CREFF, CREFF_UINT8, NORMALIZE_IMAGE, NORMALIZE_IMAGE_UINT8

FEATURE, KEYFRAME_FEATURE = "feature", "keyframe_feature"


@dataclass(frozen=True)
class ByteScale:
    """A value is (byte − ``zero_point``) · ``scale``."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.uint8]


def put_image_in_bytes(model: onnx.ModelProto) -> None:
    """Let the image be made as the bytes that the first layer takes, where nothing else takes it."""
    graph = model.graph
    for image in [node for node in graph.node if node.op_type == NORMALIZE_IMAGE]:
        takers = [node for node in graph.node if image.output[0] in node.input]
        if len(takers) != 1 or takers[0].op_type != "QuantizeLinear":
            continue
        quantise = takers[0]
        image.op_type = NORMALIZE_IMAGE_UINT8
        image.input.extend(quantise.input[1:3])
        image.output[0] = quantise.output[0]
        graph.node.remove(quantise)
        _renew_bodies(model)


def put_feature_in_bytes(keyframe: onnx.ModelProto) -> None:
    """Let ``feature`` be given as the bytes that it has; where its layer is in float, it stays in float."""
    graph = keyframe.graph
    given = next((each for each in graph.output if each.name == FEATURE), None)
    maker = next((node for node in graph.node if FEATURE in node.output), None)
    if given is None or maker is None or maker.op_type != "DequantizeLinear":
        return
    stored, inner = maker.input[0], f"{FEATURE}_in_float"
    for node in graph.node:
        for names, old, new in (
            (node.input, FEATURE, inner),
            (node.output, FEATURE, inner),
            (node.input, stored, FEATURE),
            (node.output, stored, FEATURE),
        ):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
    given.type.tensor_type.elem_type = TensorProto.UINT8


def feature_scale(keyframe: onnx.ModelProto) -> ByteScale | None:
    """Return the scale of a feature that is given in bytes; None of one in float."""
    graph = keyframe.graph
    maker = next((node for node in graph.node if FEATURE in node.output), None)
    if maker is None or maker.op_type != "QuantizeLinear":
        return None
    constants = constants_of(graph)
    scale, zero_point = (constants[name] for name in maker.input[1:3])
    return ByteScale(np.asarray(scale, np.float32), np.asarray(zero_point, np.uint8))


def take_feature_in_bytes(nonkeyframe: onnx.ModelProto, scale: ByteScale) -> None:
    """Let the fusion take the keyframe's feature as bytes of this scale."""
    graph = nonkeyframe.graph
    (fusion,) = (node for node in graph.node if node.op_type == CREFF)
    (taken,) = (each for each in graph.input if each.name == KEYFRAME_FEATURE)
    taken.type.tensor_type.elem_type = TensorProto.UINT8
    names = f"{KEYFRAME_FEATURE}_scale", f"{KEYFRAME_FEATURE}_zero_point"
    graph.initializer.append(numpy_helper.from_array(scale.scale, names[0]))
    graph.initializer.append(numpy_helper.from_array(scale.zero_point, names[1]))
    fusion.op_type = CREFF_UINT8
    fusion.input.extend(names)
    _renew_bodies(nonkeyframe)


def _renew_bodies(model: onnx.ModelProto) -> None:
    del model.functions[:]
    attach_bodies(model)
