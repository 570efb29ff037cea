"""Plain ONNX models, as others make them: the demo model's HR network alone."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from arseg_edge.bundle import KEYFRAME, read_bundle
from arseg_edge.demo import demo_bundle


def demo_network() -> onnx.ModelProto:
    """Return the demo's HR network: normalised float [1, 3, H, W] → logits [1, 11, H/8, W/8], of any size."""
    model = onnx.load_from_string(read_bundle(demo_bundle()).read(KEYFRAME))
    graph = model.graph
    kept = [node for node in graph.node if node.op_type not in ("NormalizeImage", "SegmentationLabels")]
    (normalise,) = (node for node in graph.node if node.op_type == "NormalizeImage")
    (image,) = normalise.output
    logits = next(each for each in graph.output if each.name == "logits")
    copy = onnx.ValueInfoProto.FromString(logits.SerializeToString())
    for node in (each for each in kept if "frame" in each.input):
        # Of the image [1, 3, H, W] the sides come one place later than of the frame [1, H, W, 3].
        assert node.op_type == "Shape"
        node.input[0] = image
        for attribute in node.attribute:
            attribute.i += 1
    made = onnx.helper.make_graph(
        kept,
        "demo",
        [helper.make_tensor_value_info(image, TensorProto.FLOAT, [1, 3, "height", "width"])],
        [copy],
        graph.initializer,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
