"""What does not fit is refused with a status that says which value, and never a crash."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto
from operator_session import operator_session, run_operator
from test_normalize_image import ATTRIBUTES

REFUSED = Exception  # onnxruntime's own classes are not part of its interface


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


CREFF = {
    "lr_feature": zeros(1, 4, 3, 5),
    "keyframe_feature": zeros(1, 4, 6, 9),
    "motion": zeros(1, 12, 18, 2),
    "query_weight": zeros(4, 1, 3, 3),
    "query_bias": zeros(4),
    "key_weight": zeros(4, 1, 3, 3),
    "key_bias": zeros(4),
    "value_weight": zeros(4, 1, 3, 3),
    "value_bias": zeros(4),
    "head_weight": zeros(3, 4, 1, 1),
    "head_bias": zeros(3),
}
PUBLISHED: dict[str, Any] = {"sampling": "published"}


@pytest.mark.parametrize(
    ("name", "inputs", "attributes", "message"),
    [
        (
            "MotionWarp",
            {"feature": zeros(4, 6, 9), "motion": zeros(1, 6, 9, 2)},
            PUBLISHED,
            r"MotionWarp: feature has shape \[4, 6, 9\], expected \[>=1, >=1, >=1, >=1\]",
        ),
        (
            "MotionWarp",
            {"feature": zeros(2, 4, 6, 9), "motion": zeros(1, 6, 9, 2)},
            PUBLISHED,
            r"motion has shape \[1, 6, 9, 2\], expected \[2, >=1, >=1, 2\]",
        ),
        (
            "MotionWarp",
            {"feature": zeros(1, 4, 6, 9), "motion": zeros(1, 6, 9, 3)},
            PUBLISHED,
            r"motion has shape \[1, 6, 9, 3\]",
        ),
        (
            "MotionWarp",
            {"feature": zeros(1, 4, 0, 9), "motion": zeros(1, 6, 9, 2)},
            PUBLISHED,
            r"feature has shape \[1, 4, 0, 9\]",
        ),
        (
            "MotionWarp",
            {"feature": zeros(1, 4, 6, 9), "motion": zeros(1, 0, 9, 2)},
            PUBLISHED,
            r"motion has shape \[1, 0, 9, 2\]",
        ),
        (
            "LocalAttention",
            {"query": zeros(1, 4, 6, 9), "key": zeros(1, 4, 6, 8), "value": zeros(1, 4, 6, 9)},
            {},
            r"key has shape \[1, 4, 6, 8\], expected \[1, 4, 6, 9\]",
        ),
        (
            "LocalAttention",
            {name: zeros(1, 5000, 1, 1) for name in ("query", "key", "value")},
            {},
            r"query has 5000 channels, at most 4096",
        ),
        (
            "SegmentationLabels",
            {"logits": zeros(1, 4, 6, 9), "size": np.array([0, 5])},
            {},
            r"size is \[0, 5\], expected 1 to 32768",
        ),
        (
            "SegmentationLabels",
            {"logits": zeros(1, 4, 6, 9), "size": np.array([2**62, 2**62])},
            {},
            r"size is \[4611686018427387904, 4611686018427387904\]",
        ),
        (
            "SegmentationLabels",
            {"logits": zeros(1, 4, 6, 9), "size": np.array([1, 2, 3])},
            {},
            r"size has shape \[3\], expected \[2\]",
        ),
        (
            "SegmentationLabels",
            {"logits": zeros(1, 257, 2, 2), "size": np.array([2, 2])},
            {},
            r"logits has shape \[1, 257, 2, 2\], at most 256 classes",
        ),
        (
            "NormalizeImage",
            {"frame": np.zeros((1, 4, 4, 4), np.uint8), "size": np.array([2, 2])},
            ATTRIBUTES,
            r"frame has shape \[1, 4, 4, 4\], expected \[>=1, >=1, >=1, 3\]",
        ),
        (
            "NormalizeImage",
            {"frame": np.zeros((1, 4, 4, 3), np.uint8), "size": np.array([-2, 2])},
            ATTRIBUTES,
            r"size is \[-2, 2\]",
        ),
    ],
)
def test_inputs_that_do_not_fit(
    name: str, inputs: dict[str, np.ndarray], attributes: dict[str, Any], message: str
) -> None:
    output = TensorProto.UINT8 if name == "SegmentationLabels" else TensorProto.FLOAT
    with pytest.raises(REFUSED, match=message):
        run_operator(name, inputs, output, **attributes)


@pytest.mark.parametrize("broken", list(CREFF))
def test_every_input_of_creff_is_checked(broken: str) -> None:
    shape = (2, *CREFF[broken].shape[1:]) if CREFF[broken].ndim > 1 else (7,)
    if broken == "keyframe_feature":
        shape = (1, 9, 6, 9)
    if broken == "head_weight":
        shape = (3, 5, 1, 1)
    with pytest.raises(REFUSED, match=r"has shape \[.*\], expected \["):
        run_operator("Creff", CREFF | {broken: zeros(*shape)}, **PUBLISHED)


@pytest.mark.parametrize(
    ("name", "attributes", "message"),
    [
        ("MotionWarp", {"sampling": "nearest"}, r'attribute sampling is "nearest", expected "published" or'),
        ("MotionWarp", {}, "attribute sampling is missing or not a string"),
        ("MotionWarp", {"sampling": 3}, "attribute sampling is missing or not a string"),
        ("LocalAttention", {"kernel_size": 4}, "attribute kernel_size is 4, expected an odd number from 1 to 31"),
        ("LocalAttention", {"kernel_size": -1}, "attribute kernel_size is -1"),
        ("LocalAttention", {"kernel_size": 33}, "attribute kernel_size is 33"),
        ("LocalAttention", {"kernel_size": 7.0}, "attribute kernel_size is not an integer"),
        ("SegmentationLabels", {"upscale": 0}, "attribute upscale is 0, expected 1 to 64"),
        ("SegmentationLabels", {"align_corners": 2}, "attribute align_corners is 2, expected 0 or 1"),
        ("NormalizeImage", ATTRIBUTES | {"std_g": 0.0}, "attribute std_g is 0, expected a number above 0"),
        ("NormalizeImage", ATTRIBUTES | {"mean_b": float("nan")}, "attribute mean_b is nan"),
        ("NormalizeImage", {"mean_r": 0.5}, "attribute std_r is missing or not a float"),
    ],
)
def test_attributes_that_make_no_sense(name: str, attributes: dict[str, Any], message: str) -> None:
    f, u, i = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64
    inputs = {
        "MotionWarp": {"feature": f, "motion": f},
        "LocalAttention": {"query": f, "key": f, "value": f},
        "SegmentationLabels": {"logits": f, "size": i},
        "NormalizeImage": {"frame": u, "size": i},
    }[name]
    with pytest.raises(REFUSED, match=message):
        operator_session(name, inputs, u if name == "SegmentationLabels" else f, **attributes)


def test_element_types_that_do_not_fit() -> None:
    with pytest.raises(REFUSED, match="Type"):
        operator_session("MotionWarp", {"feature": TensorProto.UINT8, "motion": TensorProto.FLOAT}, **PUBLISHED)


def test_an_unknown_simd_level_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARSEG_EDGE_SIMD", "mmx")
    with pytest.raises(REFUSED, match="ARSEG_EDGE_SIMD=mmx: no such level"):
        run_operator("LocalAttention", {name: zeros(1, 1, 1, 1) for name in ("query", "key", "value")})


def test_a_session_goes_on_after_a_refusal() -> None:
    session = operator_session("LocalAttention", dict.fromkeys(("query", "key", "value"), TensorProto.FLOAT))
    assert isinstance(session, ort.InferenceSession)
    good = {name: np.ones((1, 2, 4, 4), np.float32) for name in ("query", "key", "value")}
    with pytest.raises(REFUSED, match="key has shape"):
        session.run(None, good | {"key": zeros(1, 2, 4, 5)})
    (result,) = session.run(None, good)
    assert np.isfinite(result).all()
