"""The protobuf that is read and written without the onnx package, against the onnx package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from arseg_edge.bundle import read_bundle
from arseg_edge.onnx_bytes import ending_at, matmul_model, tiny_model


def session(model: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def test_tiny_model_is_a_model() -> None:
    model = onnx.load_from_string(tiny_model())
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 9
    x = np.array([-1, 0, 2, -np.inf], np.float32)
    np.testing.assert_array_equal(session(tiny_model()).run(None, {"x": x})[0], [0, 0, 2, 0])


def test_matmul_model_multiplies() -> None:
    onnx.checker.check_model(onnx.load_from_string(matmul_model(200)), full_check=True)
    a, b = np.random.default_rng(0).standard_normal((2, 200, 200), np.float32)
    np.testing.assert_allclose(session(matmul_model(200)).run(None, {"a": a, "b": b})[0], a @ b, atol=1e-4)


def test_a_model_that_ends_at_an_inner_value(tiny_bundle: Path) -> None:
    model = read_bundle(tiny_bundle).read("nonkeyframe.onnx")
    short = ending_at(model, "lr_feature", without=("Creff", "SegmentationLabels"))
    parsed, whole = onnx.load_from_string(short), onnx.load_from_string(model)
    assert [node.op_type for node in parsed.graph.node] == [
        node.op_type for node in whole.graph.node if node.op_type not in ("Creff", "SegmentationLabels")
    ]
    assert parsed.graph.initializer == whole.graph.initializer
    inputs = {
        "frame": np.full((1, 64, 96, 3), 90, np.uint8),
        "keyframe_feature": np.zeros((1, 8, 16, 24), np.float32),
        "motion": np.zeros((1, 64, 96, 2), np.float32),
        "frame_size": np.array([64, 96]),
        "labels_size": np.array([64, 96]),
        "confidence_size": np.zeros(2, np.int64),
    }
    (found,) = session(short).run(None, inputs)
    (expected,) = session(model).run(["lr_feature"], inputs)
    np.testing.assert_array_equal(found, expected)
