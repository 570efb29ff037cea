"""Small segmentation models in ONNX, in all the forms that others give theirs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMAL: dict[str, Any] = {"mean": MEAN, "std": STD, "bgr": False}

Axes = Sequence[int | str | None]


class Network:
    """Two convolutions at stride 4, with weights of a fixed seed; what comes before and behind is added."""

    def __init__(self, channels: int = 3, classes: int = CLASSES, opset: int = 18, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.channels, self.classes, self.opset = channels, classes, opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        first = rng.normal(size=(8, channels, 5, 5)) / (channels * 25) ** 0.5
        last = rng.normal(size=(classes, 8, 1, 1))
        self._weights = [self.constant("first", first, np.float32), self.constant("last", last, np.float32)]

    def constant(self, name: str, value: Any, dtype: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def logits(self, image: str, output: str = "logits") -> str:
        """Add the convolutions; ``image`` is float NCHW."""
        inner = self.node("Conv", [image, self._weights[0]], "inner", strides=[4, 4], pads=[2, 2, 2, 2])
        active = self.node("Tanh", [inner], "active")
        return self.node("Conv", [active, self._weights[1]], output)

    def enlarged(self, value: str, output: str, like: str, **attributes: Any) -> str:
        """Resize to the sides of ``like``, float NCHW."""
        shape = self.node("Shape", [like], f"{output}/shape")
        ends = self.constant(f"{output}/two", [2], np.int64), self.constant(f"{output}/four", [4], np.int64)
        sides = self.node("Slice", [shape, *ends], f"{output}/sides")
        batch = self.constant(f"{output}/batch", [1, self.classes], np.int64)
        target = self.node("Concat", [batch, sides], f"{output}/target", axis=0)
        empty = self.constant(f"{output}/empty", [], np.float32)
        how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel", **attributes}
        return self.node("Resize", [value, empty, empty, target], output, **how)

    def gives(self, name: str, kind: int = TensorProto.FLOAT, rank: int = 4) -> None:
        axes = [f"{name}_{axis}" for axis in range(rank)]
        self.outputs.append(helper.make_tensor_value_info(name, kind, axes))

    def model(self, axes: Axes, kind: int = TensorProto.FLOAT, name: str = "image") -> onnx.ModelProto:
        inputs = [helper.make_tensor_value_info(name, kind, list(axes))]
        graph = helper.make_graph(self.nodes, "small", inputs, self.outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


DYNAMIC: Axes = (1, 3, "height", "width")


def plain(axes: Axes = DYNAMIC, opset: int = 18, classes: int = CLASSES, channels: int = 3) -> onnx.ModelProto:
    """Return float NCHW → logits at stride 4."""
    network = Network(channels, classes, opset)
    network.logits("image")
    network.gives("logits")
    return network.model(axes)


def ended(end: str, axes: Axes = DYNAMIC, opset: int = 18) -> onnx.ModelProto:
    """Return float NCHW → what ``end`` says, by parts between dashes, one after the other."""
    network = Network(classes=1 if "sigmoid" in end or "score" in end else CLASSES, opset=opset)
    value, kind = network.logits("image", "raw"), TensorProto.FLOAT
    for number, part in enumerate(end.split("-")):
        output = f"value {number}"
        if part == "half":
            value = network.enlarged(value, output, "image")
        elif part == "corners":
            value = network.enlarged(value, output, "image", coordinate_transformation_mode="align_corners")
        elif part == "nearest":
            value = network.enlarged(value, output, "image", mode="nearest")
        elif part == "softmax":
            value = network.node("Softmax", [value], output, axis=1)
        elif part == "sigmoid":
            value = network.node("Sigmoid", [value], output)
        elif part == "nhwc":
            value = network.node("Transpose", [value], output, perm=[0, 2, 3, 1])
        elif part == "squeeze":
            value = network.node("Reshape", [value, network.constant(f"{output}/shape", [1, 64, 96], np.int64)], output)
        elif part in ("argmax", "argmaxlast"):
            axis, kind = (1 if part == "argmax" else 3), TensorProto.INT64
            value = network.node("ArgMax", [value], output, axis=axis, keepdims=0)
        elif part == "bytes":
            value, kind = network.node("Cast", [value], output, to=TensorProto.UINT8), TensorProto.UINT8
        else:
            assert part in ("raw", "score"), part
    network.gives(value, kind, 3 if "argmax" in end or "squeeze" in end else 4)
    return network.model(axes)


def of_bytes() -> onnx.ModelProto:
    """Return uint8 NHWC, which it normalises itself → logits [1, h, w, n]."""
    network = Network()
    planes = network.node("Transpose", ["image"], "planes", perm=[0, 3, 1, 2])
    values = network.node("Cast", [planes], "values", to=TensorProto.FLOAT)
    network.constant("scale", 1 / 255, np.float32)
    image = network.node("Mul", [values, "scale"], "scaled")
    network.node("Transpose", [network.logits(image, "raw")], "logits", perm=[0, 2, 3, 1])
    network.gives("logits")
    return network.model((1, "height", "width", 3), TensorProto.UINT8)


def save(model: onnx.ModelProto, path: Path, **how: Any) -> Path:
    onnx.checker.check_model(model)
    onnx.save(model, path, **how)
    return path
