"""The operators' PyTorch forms, bodies and translations, each against a twin written in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
import twins
from onnx import TensorProto, helper
from torch import Tensor, nn

from arseg_edge.export.onnx_file import to_onnx
from arseg_edge.export.operators.bodies import attach_bodies, operators_of
from arseg_edge.export.operators.creff import CreffWeights, creff
from arseg_edge.export.operators.local_attention import local_attention
from arseg_edge.export.operators.motion_warp import motion_warp
from arseg_edge.export.operators.normalize_image import normalize_image
from arseg_edge.export.operators.segmentation_labels import (
    resize_logits,
    segmentation_labels,
    segmentation_labels_node,
    winners_share,
)
from arseg_edge.operators import CREFF, DOMAIN, LOCAL_ATTENTION, MOTION_WARP, NORMALIZE_IMAGE, SEGMENTATION_LABELS
from arseg_edge.runtime.motion.agreement import fitting

Array = np.ndarray[Any, Any]
Operator = Callable[..., Array]

_ELEMENTS = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}
# Positions are in single precision, whose steps, times the slope of a motion that is noise, move the sampling points.
WARP_TOLERANCE = 2e-4
MEAN, STD = (0.39, 0.41, 0.47), (0.3, 0.25, 0.2)
NORMALISATION = {
    f"{kind}_{channel}": value
    for kind, values in (("mean", MEAN), ("std", STD))
    for channel, value in zip("rgb", values, strict=True)
}


def pytorch_form(name: str, inputs: Mapping[str, Tensor], attributes: Mapping[str, Any]) -> Tensor:
    """Call an operator's PyTorch function with the node's inputs and attributes."""
    match name, list(inputs.values()):
        case "MotionWarp", [feature, motion]:
            return motion_warp(feature, motion, **attributes)
        case "LocalAttention", [query, key, value]:
            return local_attention(query, key, value, **attributes)
        case "Creff", [lr_feature, keyframe_feature, motion, *weights]:
            rule = {key: attributes[key] for key in ("sampling", "kernel_size")}
            fusion, head = CreffWeights(*weights[:6]), (weights[6], weights[7])
            return creff(lr_feature, keyframe_feature, motion, fusion, head, **rule)
        case "NormalizeImage", [frame, size]:
            return normalize_image(frame, tuple(size.tolist()), mean=MEAN, std=STD)
        case "SegmentationLabels", [logits, size]:
            rule = {**attributes, "align_corners": bool(attributes.get("align_corners", 1))}
            return segmentation_labels(logits, tuple(size.tolist()), **rule)
    raise AssertionError(name)


def body_model(name: str, inputs: Mapping[str, Array], attributes: Mapping[str, Any]) -> onnx.ModelProto:
    """Return a model of this one node, every size open, and the functions that the exporter would put in."""
    node = helper.make_node(name, list(inputs), ["result"], domain=DOMAIN, **attributes)
    values = [
        helper.make_tensor_value_info(key, _ELEMENTS[str(array.dtype)], [2] if key == "size" else [None] * array.ndim)
        for key, array in inputs.items()
    ]
    element, rank = (TensorProto.UINT8, 3) if name == SEGMENTATION_LABELS else (TensorProto.FLOAT, 4)
    result = helper.make_tensor_value_info("result", element, [None] * rank)
    graph = helper.make_graph([node], name, values, [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    attach_bodies(model)
    onnx.checker.check_model(model)
    return model


def plain_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return a session that has no native library: function bodies only."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_pytorch(name: str, inputs: Mapping[str, Array], **attributes: Any) -> Array:
    tensors = {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in inputs.items()}
    return pytorch_form(name, tensors, attributes).numpy()


def run_body(name: str, inputs: Mapping[str, Array], **attributes: Any) -> Array:
    (result,) = plain_session(body_model(name, inputs, attributes)).run(None, dict(inputs))
    return result


@pytest.fixture(params=[run_pytorch, run_body], ids=["pytorch", "body"])
def run(request: pytest.FixtureRequest) -> Operator:
    """Run an operator in one of its forms: ``run(name, inputs, **attributes)``."""
    return request.param  # type: ignore[no-any-return]


def assert_close(found: Array, expected: Array, tolerance: float = 1e-5) -> None:
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1.0, float(np.abs(expected).max())))


def normal(random: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    return (scale * random.standard_normal(shape)).astype(np.float32)


# (N, C, feature height and width, motion height and width)
WARPS = [
    (1, 1, 1, 1, 1, 1),
    (1, 3, 1, 9, 4, 70),
    (1, 3, 9, 1, 70, 4),
    (1, 5, 7, 13, 7, 13),
    (2, 3, 16, 16, 33, 65),
    (1, 2, 11, 50, 83, 399),
    (3, 4, 11, 31, 5, 6),
]
SAMPLINGS: list[Literal["published", "consistent"]] = ["published", "consistent"]


@pytest.mark.parametrize("shape", WARPS, ids=str)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_motion_warp(run: Operator, random: np.random.Generator, shape: tuple[int, ...], sampling: str) -> None:
    n, c, h, w, height, width = shape
    feature, motion = normal(random, n, c, h, w), normal(random, n, height, width, 2, scale=8)
    found = run(MOTION_WARP, {"feature": feature, "motion": motion}, sampling=sampling)
    assert_close(found, twins.motion_warp(feature, motion, sampling), WARP_TOLERANCE)


def test_published_warp_is_grid_sample_as_the_released_code_calls_it(
    run: Operator, random: np.random.Generator
) -> None:
    (h, w), (height, width) = (9, 14), (72, 100)
    feature, motion = normal(random, 1, 4, h, w), normal(random, 1, height, width, 2, scale=12)
    planes = torch.from_numpy(motion).permute(0, 3, 1, 2) * (h / height)
    small = F.interpolate(planes, size=(h, w), mode="bilinear", align_corners=True)[0]
    x = 2 * (torch.arange(w) + small[0]) / (w - 1) - 1
    y = 2 * (torch.arange(h)[:, None] + small[1]) / (h - 1) - 1
    grid = torch.stack([x, y], dim=-1)[None]
    expected = F.grid_sample(torch.from_numpy(feature), grid, padding_mode="zeros", align_corners=False).numpy()
    assert_close(twins.motion_warp(feature, motion, "published"), expected, WARP_TOLERANCE)
    assert_close(run(MOTION_WARP, {"feature": feature, "motion": motion}, sampling="published"), expected)


def test_consistent_warp_moves_whole_pixels_exactly(run: Operator, random: np.random.Generator) -> None:
    feature, motion = normal(random, 1, 3, 9, 17), np.zeros((1, 36, 68, 2), np.float32)
    np.testing.assert_allclose(
        run(MOTION_WARP, {"feature": feature, "motion": motion}, sampling="consistent"), feature, atol=2e-6
    )
    motion[...] = 8, -4  # two to the right and one up, at a quarter of the size
    found = run(MOTION_WARP, {"feature": feature, "motion": motion}, sampling="consistent")
    np.testing.assert_allclose(found[:, :, 1:, :-2], feature[:, :, :-1, 2:], atol=5e-6)
    np.testing.assert_allclose(found[:, :, 1:, -1], feature[:, :, :-1, -1], atol=5e-6)  # the border repeats


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_motion_of_a_picture_of_other_proportions_is_made_to_fit(
    run: Operator, random: np.random.Generator, sampling: Literal["published", "consistent"]
) -> None:
    """A picture of 40×100 seen at 64×96: its motion moves the feature as the same motion in the frame's pixels does."""
    feature = normal(random, 1, 3, 16, 24)
    of_picture, of_frame = np.zeros((40, 100, 2), np.float32), np.zeros((64, 96, 2), np.float32)
    of_picture[...] = 10, -5
    of_frame[...] = 10 * 96 / 100, -5 * 64 / 40
    fitted = fitting(of_picture, (64, 96), sampling)[None]
    found = run(MOTION_WARP, {"feature": feature, "motion": fitted}, sampling=sampling)
    assert_close(found, run(MOTION_WARP, {"feature": feature, "motion": of_frame[None]}, sampling=sampling), 1e-4)


BEYOND = [np.nan, np.inf, -np.inf, 2.0**31, -(2.0**31), 3e38, -3e38]


@pytest.mark.parametrize("value", BEYOND)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_motion_beyond_all_bounds_is_defined(
    run: Operator, random: np.random.Generator, sampling: str, value: float
) -> None:
    feature, motion = normal(random, 1, 3, 9, 35), normal(random, 1, 40, 101, 2, scale=2)
    motion[:, 13:20, 25:50, random.integers(2)] = value
    found = run(MOTION_WARP, {"feature": feature, "motion": motion}, sampling=sampling)
    assert np.isfinite(found).all()
    assert_close(found, twins.motion_warp(feature, motion, sampling), WARP_TOLERANCE)


@pytest.mark.parametrize("value", BEYOND)
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_only_the_pixels_that_it_is_given_for_feel_it(
    run: Operator, random: np.random.Generator, sampling: str, value: float
) -> None:
    feature, motion = normal(random, 1, 3, 9, 35), normal(random, 1, 9, 35, 2, scale=2)
    beyond = np.zeros((9, 35), bool)
    beyond[3:7, 5:30] = True
    clean = twins.motion_warp(feature, motion, sampling)
    motion[:, beyond] = value
    found = run(MOTION_WARP, {"feature": feature, "motion": motion}, sampling=sampling)
    if sampling == "published":
        at_rest = np.zeros_like(feature)
    elif np.isnan(value):
        at_rest = feature
    else:
        corner = -1 if value > 0 else 0
        at_rest = np.broadcast_to(feature[..., corner, corner, None, None], feature.shape)
    assert_close(found, np.where(beyond, at_rest, clean), WARP_TOLERANCE)


ATTENTIONS = [(1, 1, 1, 1), (1, 3, 1, 20), (1, 5, 20, 1), (2, 4, 5, 7), (1, 17, 8, 33), (1, 6, 24, 16), (3, 2, 21, 45)]


@pytest.mark.parametrize("shape", ATTENTIONS, ids=str)
@pytest.mark.parametrize("kernel_size", [1, 3, 7, 13])
def test_local_attention(run: Operator, random: np.random.Generator, shape: tuple[int, ...], kernel_size: int) -> None:
    inputs = {name: normal(random, *shape) for name in ("query", "key", "value")}
    found = run(LOCAL_ATTENTION, inputs, kernel_size=kernel_size)
    assert_close(found, twins.local_attention(**inputs, kernel_size=kernel_size))


def test_local_attention_with_scores_that_overflow_the_exponential(run: Operator, random: np.random.Generator) -> None:
    inputs = {name: normal(random, 1, 8, 9, 10, scale=20) for name in ("query", "key", "value")}
    found = run(LOCAL_ATTENTION, inputs, kernel_size=7)
    # Scores reach thousands, where single precision has steps of 1e-4 and more.
    assert_close(found, twins.local_attention(**inputs, kernel_size=7), 2e-3)


# (N, C, n, LR height and width, feature height and width, motion height and width)
FUSIONS = [
    (1, 1, 1, 1, 1, 1, 1, 1, 1),
    (1, 3, 2, 1, 4, 1, 20, 8, 160),
    (1, 3, 5, 4, 1, 20, 1, 160, 8),
    (2, 5, 4, 3, 5, 6, 9, 12, 18),
    (1, 17, 12, 6, 10, 13, 21, 104, 167),
]


def fusion_inputs(random: np.random.Generator, shape: tuple[int, ...]) -> dict[str, Array]:
    n, c, classes, lr_h, lr_w, h, w, height, width = shape
    shapes: dict[str, tuple[int, ...]] = {
        "lr_feature": (n, c, lr_h, lr_w),
        "keyframe_feature": (n, c, h, w),
        "motion": (n, height, width, 2),
        **{f"{of}_{what}": (c, 1, 3, 3)[: 4 if what == "weight" else 1]
           for of in ("query", "key", "value") for what in ("weight", "bias")},
        "head_weight": (classes, c, 1, 1),
        "head_bias": (classes,),
    }  # fmt: skip
    inputs = {name: normal(random, *each, scale=0.3) for name, each in shapes.items()}
    inputs["motion"] *= np.float32(10 * height / h)
    return inputs


@pytest.mark.parametrize("shape", FUSIONS, ids=str)
@pytest.mark.parametrize(("sampling", "kernel_size"), [("published", 7), ("consistent", 3)])
def test_creff(
    run: Operator, random: np.random.Generator, shape: tuple[int, ...], sampling: str, kernel_size: int
) -> None:
    inputs = fusion_inputs(random, shape)
    found = run(CREFF, inputs, sampling=sampling, kernel_size=kernel_size, channels=shape[1])
    assert_close(found, twins.creff(**inputs, sampling=sampling, kernel_size=kernel_size), WARP_TOLERANCE)


@pytest.mark.parametrize(
    ("frame", "size"),
    [((1, 1), (1, 1)), ((1, 7), (3, 2)), ((30, 41), (30, 41)), ((45, 64), (22, 32)), ((9, 5), (20, 11))],
)
def test_normalize_image(
    run: Operator, random: np.random.Generator, frame: tuple[int, int], size: tuple[int, int]
) -> None:
    inputs = {"frame": random.integers(0, 256, (2, *frame, 3), np.uint8), "size": np.array(size)}
    found = run(NORMALIZE_IMAGE, inputs, **NORMALISATION)
    assert_close(found, twins.normalize_image(*inputs.values(), MEAN, STD))


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("upscale", [1, 8])
@pytest.mark.parametrize(
    ("small", "size"), [((1, 1), (5, 4)), ((1, 6), (8, 50)), ((7, 9), (7, 9)), ((8, 12), (60, 92)), ((30, 31), (17, 9))]
)
def test_segmentation_labels(
    run: Operator,
    random: np.random.Generator,
    small: tuple[int, int],
    size: tuple[int, int],
    upscale: int,
    align_corners: int,
) -> None:
    logits, target = normal(random, 2, 6, *small), np.array(size)
    rule = {"upscale": upscale, "align_corners": align_corners}
    found = run(SEGMENTATION_LABELS, {"logits": logits, "size": target}, **rule)
    full = twins.full_logits(logits, target, **rule)
    assert (found.dtype, found.shape) == (np.uint8, (2, *size))
    # Where two classes are equal to single precision either may win; nowhere else.
    chosen = np.take_along_axis(full, found[:, None].astype(np.int64), axis=1)[:, 0]
    assert (full.max(axis=1) - chosen).max() < 1e-5
    assert (found == twins.segmentation_labels(logits, target, **rule)).mean() > 0.999


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("upscale", [1, 8])
@pytest.mark.parametrize(
    ("small", "size"), [((1, 1), (5, 4)), ((7, 9), (7, 9)), ((8, 12), (60, 92)), ((30, 31), (17, 9))]
)
def test_confidence_of_the_body(
    random: np.random.Generator, small: tuple[int, int], size: tuple[int, int], upscale: int, align_corners: int
) -> None:
    logits = normal(random, 2, 6, *small, scale=4)
    rule = {"upscale": upscale, "align_corners": align_corners}
    values = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None] * 4),
        helper.make_tensor_value_info("size", TensorProto.INT64, [2]),
        helper.make_tensor_value_info("confidence_size", TensorProto.INT64, [2]),
    ]
    results = [helper.make_tensor_value_info(name, TensorProto.UINT8, [None] * 3) for name in ("labels", "confidence")]
    node = segmentation_labels_node(
        "logits", "size", "labels", upscale=upscale, align_corners=bool(align_corners), confidence=True
    )
    graph = helper.make_graph([node], "confidence", values, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    attach_bodies(model)
    onnx.checker.check_model(model)
    session, inputs = plain_session(model), {"logits": logits, "size": np.array(size)}
    labels, confidence = session.run(None, {**inputs, "confidence_size": np.array(size)})
    full = torch.from_numpy(twins.full_logits(logits, np.array(size), **rule))
    assert np.abs(confidence - 255 * full.softmax(1).amax(1).numpy()).max() <= 0.51
    in_pytorch = winners_share(
        resize_logits(torch.from_numpy(logits), size, upscale=upscale, align_corners=bool(align_corners))
    )
    assert np.abs(confidence.astype(int) - in_pytorch.numpy()).max() <= 1
    unasked, nothing = session.run(None, {**inputs, "confidence_size": np.zeros(2, np.int64)})
    np.testing.assert_array_equal(unasked, labels)
    assert (nothing.dtype, nothing.shape) == (np.uint8, (2, 0, 0))


def test_confidence_of_the_body_where_logits_are_no_numbers() -> None:
    logits = np.zeros((1, 3, 2, 20), np.float32)
    logits[0, 1, :, 4], logits[0, 2, :, 9], logits[0, 2, :, 15] = -np.inf, np.nan, np.inf
    node = segmentation_labels_node("logits", "size", "labels", upscale=1, align_corners=True, confidence=True)
    values = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None] * 4)]
    values += [helper.make_tensor_value_info(name, TensorProto.INT64, [2]) for name in ("size", "confidence_size")]
    result = helper.make_tensor_value_info("confidence", TensorProto.UINT8, [None] * 3)
    graph = helper.make_graph([node], "confidence", values, [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    attach_bodies(model)
    size = np.array([2, 20])
    (found,) = plain_session(model).run(None, {"logits": logits, "size": size, "confidence_size": size})
    expected = np.full((1, 2, 20), 85, np.uint8)
    expected[..., [4, 9, 15]] = 128, 0, 0
    np.testing.assert_array_equal(found, expected)


def test_outputs_of_one_operator_must_agree() -> None:
    nodes = [
        segmentation_labels_node("x", "size", name, upscale=1, confidence=asked)
        for name, asked in (("a", True), ("b", False))
    ]
    model = helper.make_model(helper.make_graph(nodes, "two", [], []))
    with pytest.raises(ValueError, match="SegmentationLabels: 1 outputs beside 2 in one model"):
        attach_bodies(model)


@pytest.mark.parametrize("upscale", [1, 8])
def test_of_equal_logits_the_first_gives_the_label(run: Operator, upscale: int) -> None:
    logits = np.zeros((1, 256, 4, 5), np.float32)
    logits[:, [3, 7, 255]] = 1.5
    found = run(SEGMENTATION_LABELS, {"logits": logits, "size": np.array([13, 17])}, upscale=upscale)
    np.testing.assert_array_equal(found, np.full((1, 13, 17), 3, np.uint8))
    logits[:, 255] = 2
    found = run(SEGMENTATION_LABELS, {"logits": logits, "size": np.array([13, 17])}, upscale=upscale)
    np.testing.assert_array_equal(found, np.full((1, 13, 17), 255, np.uint8))


def test_one_session_of_a_body_takes_every_size(random: np.random.Generator) -> None:
    attributes = {"sampling": "published", "kernel_size": 7, "channels": 4}
    session = None
    for shape in [(1, 4, 3, 5, 6, 9, 12, 72, 96), (2, 4, 3, 8, 8, 16, 16, 16, 16), (1, 4, 3, 2, 30, 5, 61, 37, 488)]:
        inputs = fusion_inputs(random, shape)
        session = session or plain_session(body_model(CREFF, inputs, attributes))
        (found,) = session.run(None, inputs)
        assert_close(found, twins.creff(**inputs, sampling="published", kernel_size=7), WARP_TOLERANCE)


def test_model_holds_one_function_for_each_operator_in_use(random: np.random.Generator) -> None:
    attributes = {"sampling": "published", "kernel_size": 7, "channels": 3}
    model = body_model(CREFF, fusion_inputs(random, FUSIONS[1]), attributes)
    assert [operator.name for operator in operators_of(model)] == [CREFF, LOCAL_ATTENTION, MOTION_WARP]
    assert {function.domain for function in model.functions} == {DOMAIN}
    again = onnx.ModelProto()
    again.CopyFrom(model)
    attach_bodies(again)
    assert again == model


def assert_takes_nothing_from_around(graph: onnx.GraphProto) -> None:
    """Fail if a node of a loop's body reads what neither the body's inputs nor its nodes give."""
    known = {"", *(value.name for value in (*graph.input, *graph.initializer))}
    for node in graph.node:
        assert set(node.input) <= known, (node.op_type, set(node.input) - known)
        known.update(node.output)
    assert {value.name for value in graph.output} <= known


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("kernel_size", [1, 7])
def test_loops_in_bodies_take_nothing_from_around_them(sampling: str, kernel_size: int) -> None:
    """OpenVINO does not find a value that a loop's body takes from around it, once functions are inlined."""
    names = [
        (CREFF, {"sampling": sampling, "kernel_size": kernel_size, "channels": 4}),
        (NORMALIZE_IMAGE, NORMALISATION),
        (SEGMENTATION_LABELS, {"upscale": 8}),
    ]
    nodes = [helper.make_node(name, ["x"], ["y"], domain=DOMAIN, **attributes) for name, attributes in names]
    model = helper.make_model(helper.make_graph(nodes, "all", [], []))
    attach_bodies(model)
    assert {function.name for function in model.functions} == {*dict(names), MOTION_WARP, LOCAL_ATTENTION}
    loops = [
        attribute.g
        for function in model.functions
        for node in function.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.GRAPH
    ]
    assert len(loops) == (kernel_size > 1)
    for loop in loops:
        assert_takes_nothing_from_around(loop)


def test_nodes_of_one_operator_must_agree() -> None:
    nodes = [
        helper.make_node(LOCAL_ATTENTION, ["x", "x", "x"], [out], domain=DOMAIN, kernel_size=size)
        for out, size in (("y", 3), ("z", 7))
    ]
    model = helper.make_model(helper.make_graph(nodes, "two", [], []))
    with pytest.raises(ValueError, match=r"LocalAttention: \{'kernel_size': 7\} beside \{'kernel_size': 3\}"):
        attach_bodies(model)


class Warp(nn.Module):
    def forward(self, feature: Tensor, motion: Tensor) -> Tensor:
        return motion_warp(feature, motion, sampling="consistent")


class Attention(nn.Module):
    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return local_attention(query, key, value, kernel_size=5)


def exported(module: nn.Module, inputs: Mapping[str, Array]) -> onnx.ModelProto:
    """Export the module's call for any height and width of its inputs."""
    h, w, height, width = (torch.export.Dim(name) for name in ("h", "w", "height", "width"))
    axes = {key: {1: height, 2: width} if key == "motion" else {2: h, 3: w} for key in inputs}
    tensors = {key: torch.from_numpy(array) for key, array in inputs.items()}
    return to_onnx(module, tensors, outputs=["result"], dynamic=axes, metadata={})


def test_motion_warp_is_exported_as_one_node(random: np.random.Generator) -> None:
    def inputs(h: int, w: int, height: int, width: int) -> dict[str, Array]:
        return {"feature": normal(random, 1, 3, h, w), "motion": normal(random, 1, height, width, 2, scale=4)}

    model = exported(Warp(), inputs(8, 12, 64, 96))
    assert [(node.domain, node.op_type) for node in model.graph.node] == [(DOMAIN, MOTION_WARP)]
    for sizes in [(8, 12, 64, 96), (7, 9, 50, 71)]:
        feeds = inputs(*sizes)
        (found,) = plain_session(model).run(None, feeds)
        assert_close(found, twins.motion_warp(feeds["feature"], feeds["motion"], "consistent"), WARP_TOLERANCE)


def test_local_attention_is_exported_as_one_node(random: np.random.Generator) -> None:
    def inputs(h: int, w: int) -> dict[str, Array]:
        return {name: normal(random, 1, 4, h, w) for name in ("query", "key", "value")}

    model = exported(Attention(), inputs(8, 12))
    assert [(node.domain, node.op_type) for node in model.graph.node] == [(DOMAIN, LOCAL_ATTENTION)]
    for size in [(8, 12), (5, 19)]:
        feeds = inputs(*size)
        (found,) = plain_session(model).run(None, feeds)
        assert_close(found, twins.local_attention(**feeds, kernel_size=5))
