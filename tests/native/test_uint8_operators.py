"""The operators on bytes against the NumPy twins of the float ones, given what the bytes stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import twins
from onnx import TensorProto, helper
from operator_session import require_library, run_operator

from arseg_edge.export.operators.bodies import attach_bodies
from arseg_edge.operators import CREFF_UINT8, DOMAIN, MOTION_WARP_UINT8, NORMALIZE_IMAGE_UINT8

Array = np.ndarray[Any, Any]

# (N, C, h, w, H, W): rows shorter than what a gather reads, sizes around the vector widths, several images.
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (1, 3, 1, 9, 4, 70),
    (1, 3, 9, 1, 70, 4),
    (1, 2, 6, 3, 12, 6),
    (1, 2, 5, 4, 10, 8),
    (1, 5, 7, 13, 7, 13),
    (2, 3, 16, 16, 33, 65),
    (1, 2, 10, 50, 80, 400),
    (3, 17, 11, 31, 5, 6),
]


def quantisation(random: np.random.Generator, channels: int, *, per_channel: bool) -> tuple[Array, Array]:
    size = (channels,) if per_channel else ()
    scale = np.asarray(random.uniform(0.003, 0.02, size), np.float32)
    return scale, np.asarray(random.integers(0, 256, size), np.uint8)


def dequantised(data: Array, scale: Array, zero_point: Array) -> Array:
    """What ONNX's DequantizeLinear with axis 1 says."""
    step = np.broadcast_to(scale, data.shape[1]).reshape(1, -1, 1, 1)
    zero = np.broadcast_to(zero_point, data.shape[1]).reshape(1, -1, 1, 1)
    return ((data.astype(np.int32) - zero) * step).astype(np.float32)


def any_motion(random: np.random.Generator, kind: str, n: int, height: int, width: int) -> Array:
    if kind == "noise":
        return (random.standard_normal((n, height, width, 2)) * 8).astype(np.float32)
    blocks = random.integers(-40, 40, (n, -(-height // 8), -(-width // 8), 2)) / 4
    return blocks.repeat(8, 1).repeat(8, 2)[:, :height, :width].astype(np.float32)


def assert_close(actual: Array, expected: Array) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * max(1.0, float(np.abs(expected).max())))


def plain_run(name: str, inputs: dict[str, Array], element: int, **attributes: object) -> Array:
    """Run the function body, with no native library."""
    node = helper.make_node(name, list(inputs), ["result"], domain=DOMAIN, **attributes)
    types = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}
    values = [
        helper.make_tensor_value_info(key, types[str(array.dtype)], [2] if key == "size" else [None] * array.ndim)
        for key, array in inputs.items()
    ]
    graph = helper.make_graph([node], name, values, [helper.make_tensor_value_info("result", element, [None] * 4)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    attach_bodies(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


def warp_inputs(
    random: np.random.Generator, shape: tuple[int, ...], kind: str, *, per_channel: bool
) -> dict[str, Array]:
    n, c, h, w, height, width = shape
    scale, zero_point = quantisation(random, c, per_channel=per_channel)
    return {
        "feature": random.integers(0, 256, (n, c, h, w)).astype(np.uint8),
        "motion": any_motion(random, kind, n, height, width),
        "feature_scale": scale,
        "feature_zero_point": zero_point,
    }


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("sampling", ["published", "consistent"])
@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "per-channel"])
def test_warp_equals_the_twin(
    level: str, random: np.random.Generator, shape: tuple[int, ...], sampling: str, per_channel: bool
) -> None:
    for kind in ("noise", "blocks"):
        inputs = warp_inputs(random, shape, kind, per_channel=per_channel)
        feature = dequantised(inputs["feature"], inputs["feature_scale"], inputs["feature_zero_point"])
        actual = run_operator(MOTION_WARP_UINT8, inputs, sampling=sampling)
        assert_close(actual, twins.motion_warp(feature, inputs["motion"], sampling))


def test_outside_the_picture_is_zero_and_not_the_byte_zero(level: str, random: np.random.Generator) -> None:
    inputs = warp_inputs(random, (1, 3, 8, 40, 8, 40), "blocks", per_channel=True)
    inputs["feature_zero_point"] = np.array([40, 128, 255], np.uint8)
    inputs["motion"][:] = 1000
    assert not run_operator(MOTION_WARP_UINT8, inputs, sampling="published").any()


# (N, C, n, LR height and width, feature height and width, motion height and width)
FUSIONS = [
    (1, 1, 1, 1, 1, 1, 1, 1, 1),
    (1, 3, 5, 4, 1, 20, 1, 160, 8),
    (2, 5, 4, 3, 5, 6, 9, 12, 18),
    (1, 17, 12, 12, 20, 23, 40, 184, 320),
    (1, 100, 3, 20, 60, 40, 120, 80, 240),
]


def fusion_inputs(random: np.random.Generator, shape: tuple[int, ...], *, per_channel: bool) -> dict[str, Array]:
    n, c, classes, lr_h, lr_w, h, w, height, width = shape

    def normal(*size: int) -> Array:
        return (random.standard_normal(size) * 0.3).astype(np.float32)

    scale, zero_point = quantisation(random, c, per_channel=per_channel)
    inputs: dict[str, Array] = {
        "lr_feature": normal(n, c, lr_h, lr_w),
        "keyframe_feature": np.clip(np.rint(random.normal(zero_point.mean(), 30, (n, c, h, w))), 0, 255).astype(
            np.uint8
        ),
        "motion": normal(n, height, width, 2) * np.float32(10 * height / h),
    }
    for name in ("query", "key", "value"):
        inputs |= {f"{name}_weight": normal(c, 1, 3, 3), f"{name}_bias": normal(c)}
    inputs |= {"head_weight": normal(classes, c, 1, 1), "head_bias": normal(classes)}
    return inputs | {"feature_scale": scale, "feature_zero_point": zero_point}


def float_fusion(inputs: dict[str, Array], **attributes: Any) -> Array:
    inputs = dict(inputs)
    scale, zero_point = inputs.pop("feature_scale"), inputs.pop("feature_zero_point")
    inputs["keyframe_feature"] = dequantised(inputs["keyframe_feature"], scale, zero_point)
    return twins.creff(**inputs, **attributes)


@pytest.mark.parametrize("shape", FUSIONS, ids=str)
@pytest.mark.parametrize("sampling", ["published", "consistent"])
@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "per-channel"])
def test_creff_equals_the_twin(
    level: str, random: np.random.Generator, shape: tuple[int, ...], sampling: str, per_channel: bool
) -> None:
    inputs = fusion_inputs(random, shape, per_channel=per_channel)
    rule: dict[str, Any] = {"sampling": sampling, "kernel_size": 7}
    assert_close(run_operator(CREFF_UINT8, inputs, **rule), float_fusion(inputs, **rule))


@pytest.mark.parametrize("size", [(36, 50), (20, 33), (1, 1)], ids=str)
def test_image_in_bytes_is_the_rounded_image(level: str, random: np.random.Generator, size: tuple[int, int]) -> None:
    mean, std = (0.39, 0.41, 0.47), (0.3, 0.25, 0.2)
    attributes = {
        f"{kind}_{colour}": v
        for kind, three in (("mean", mean), ("std", std))
        for colour, v in zip("rgb", three, strict=True)
    }
    for scale, zero_point in ((0.02, 100), (0.004, 128)):  # the second is too narrow: bytes saturate
        inputs: dict[str, Array] = {
            "frame": random.integers(0, 256, (2, 36, 50, 3)).astype(np.uint8),
            "size": np.array(size),
            "image_scale": np.array(scale, np.float32),
            "image_zero_point": np.array(zero_point, np.uint8),
        }
        steps = twins.normalize_image(inputs["frame"], inputs["size"], mean, std) / np.float32(scale)
        exact = np.clip(steps.astype(np.float64) + zero_point, 0, 255)
        for found in (
            run_operator(NORMALIZE_IMAGE_UINT8, inputs, TensorProto.UINT8, **attributes),
            plain_run(NORMALIZE_IMAGE_UINT8, inputs, TensorProto.UINT8, **attributes),
        ):
            assert found.dtype == np.uint8
            # Nearest byte, but for what rounding of floats leaves undecided at a half.
            assert np.abs(found - exact).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "per-channel"])
def test_bodies_say_the_same(random: np.random.Generator, per_channel: bool) -> None:
    inputs = fusion_inputs(random, FUSIONS[2], per_channel=per_channel)
    rule: dict[str, Any] = {"sampling": "published", "kernel_size": 7}
    found = plain_run(CREFF_UINT8, inputs, TensorProto.FLOAT, channels=5, **rule)
    np.testing.assert_allclose(found, float_fusion(inputs, **rule), rtol=0, atol=2e-4)
    warped = warp_inputs(random, SHAPES[5], "blocks", per_channel=per_channel)
    feature = dequantised(warped["feature"], warped["feature_scale"], warped["feature_zero_point"])
    found = plain_run(MOTION_WARP_UINT8, warped, TensorProto.FLOAT, sampling="consistent")
    expected = twins.motion_warp(feature, warped["motion"], "consistent")
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    ("scale", "zero_point", "message"),
    [
        (np.float32([0.1, 0.1]), np.uint8([1, 1]), r"feature_scale has shape \[2\], expected \[\] or \[5\]"),
        (np.float32([0.1] * 5), np.uint8(1), r"feature_zero_point has shape \[\], expected that of the scale, \[5\]"),
        (np.float32(0), np.uint8(1), "feature_scale is 0, expected a number above 0"),
        (np.float32([1, 1, np.nan, 1, 1]), np.uint8([1] * 5), "feature_scale is nan, expected a number above 0"),
    ],
)
def test_wrong_quantisation_is_refused(
    random: np.random.Generator, scale: Array, zero_point: Array, message: str
) -> None:
    require_library()
    quantised = {"feature_scale": np.asarray(scale), "feature_zero_point": np.asarray(zero_point)}
    inputs = fusion_inputs(random, FUSIONS[2], per_channel=False) | quantised
    with pytest.raises(Exception, match=message):
        run_operator(CREFF_UINT8, inputs, sampling="published", kernel_size=7)
    warped = warp_inputs(random, SHAPES[5], "noise", per_channel=False) | quantised
    with pytest.raises(Exception, match=message):
        run_operator(MOTION_WARP_UINT8, warped, sampling="published")
