"""The published code's numbers through the exported graphs, stage by stage, in ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import golden
import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import pytest
import torch

from arseg_edge.bundle import KEYFRAME, Bundle
from arseg_edge.export.families import find_family
from arseg_edge.export.operators.segmentation_labels import resize_logits
from arseg_edge.operators import CREFF, DOMAIN
from arseg_edge.runtime import native

ERROR = 1e-4
LABELS = 0.999
NONKEYFRAME = "nonkeyframe.onnx"
NOTHING = np.zeros(2, np.int64)

Arrays = dict[str, np.ndarray[Any, Any]]
Open = Callable[[bytes], onnxruntime.InferenceSession]


def plain(model: bytes) -> onnxruntime.InferenceSession:
    """Return a session without the native library: function bodies only."""
    return onnxruntime.InferenceSession(model, _options(), providers=["CPUExecutionProvider"])


def with_kernels(model: bytes) -> onnxruntime.InferenceSession:
    """Return a session with the native library; the test needs it."""
    library = native.library_path()
    if library is None:
        pytest.skip(f"native operators: {native.state().reason}")
    options = _options()
    options.register_custom_ops_library(str(library))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def on_cuda(model: bytes) -> onnxruntime.InferenceSession:
    """Return a session on CUDA; where there is none the test is skipped, or fails if told that there must be."""
    providers = onnxruntime.get_available_providers()
    reason = f"no CUDA: onnxruntime {onnxruntime.__version__} offers {', '.join(providers)}"
    if "CUDAExecutionProvider" in providers:
        session = onnxruntime.InferenceSession(
            # TF32 has ten bits of mantissa: what it saves in time it takes from parity.
            model, _options(), providers=[("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]
        )  # fmt: skip
        if session.get_providers()[0] == "CUDAExecutionProvider":
            return session
        reason = "no CUDA: onnxruntime has the provider, and it does not load here"
    if os.environ.get("ARSEG_EDGE_REQUIRE_CUDA") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(params=[plain, pytest.param(on_cuda, marks=pytest.mark.cuda)], ids=["bodies", "cuda"])
def open_bodies(request: pytest.FixtureRequest) -> Open:
    """Return how a session is opened that runs the function bodies."""
    return request.param  # type: ignore[no-any-return]


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    return options


def run(session: onnxruntime.InferenceSession, feeds: Mapping[str, Any]) -> Arrays:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def opened_up(model: bytes) -> bytes:
    """Return the model with CReFF's stages as further outputs: ``warped_feature`` and ``fused_feature``.

    They are inside the function ``Creff``, so that one is inlined; the warp and the attention stay functions.
    """
    inlined = onnx.inliner.inline_selected_functions(onnx.load_from_string(model), [(DOMAIN, CREFF)])
    (warp,) = (node for node in inlined.graph.node if node.op_type == "MotionWarp")
    (head,) = (node for node in inlined.graph.node if "logits" in node.output)
    stages = {"warped_feature": warp.output[0], "fused_feature": head.input[0]}
    for stage, inner in stages.items():
        inlined.graph.node.append(onnx.helper.make_node("Identity", [inner], [stage]))
        inlined.graph.output.append(onnx.ValueInfoProto(name=stage))
    return bytes(inlined.SerializeToString())


def final_logits(family: str, logits: np.ndarray[Any, Any], size: Sequence[int]) -> np.ndarray[Any, Any]:
    """Return the last layer's logits as the published code hands them out: at full size, or as log-probabilities.

    The graphs go from these to labels in one operator and leave the log-softmax out, which changes none. The code
    applies it to a keyframe after the resize and to other frames before.
    """
    tensor = torch.from_numpy(logits)
    if family == "camvid-psp18":
        tensor = tensor.log_softmax(1)
    resized = resize_logits(tensor, (size[0], size[1]), upscale=find_family(family).upscale)
    return resized.numpy()


def feeds_of(expected: Arrays, keyframe_feature: np.ndarray[Any, Any]) -> Arrays:
    image, motion = expected["image"][None], expected["motion"][None]
    sizes = {"frame_size": size_of(image[0]), "labels_size": size_of(image[0]), "confidence_size": NOTHING}
    return {"frame": image, "keyframe_feature": keyframe_feature, "motion": motion, **sizes}


def keyframe_feeds(expected: Arrays) -> Arrays:
    image = expected["key_image"]
    return {"frame": image[None], "labels_size": size_of(image), "confidence_size": NOTHING}


def size_of(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.array(image.shape[:2], np.int64)


def assert_matches(found: Arrays, expected: Arrays) -> None:
    errors = {stage: golden.relative_error(value, expected[stage]) for stage, value in found.items()}
    assert max(errors.values()) <= ERROR, errors


def agreement(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    assert (found.dtype, found.shape) == (np.uint8, (1, *expected.shape))
    return float((found[0] == expected).mean())


@pytest.mark.parametrize("size", golden.SIZES)
@pytest.mark.parametrize("family", golden.FAMILIES)
def test_every_stage_matches_the_published_code(
    export_golden: Callable[[str], Bundle], open_bodies: Open, family: str, size: str
) -> None:
    bundle, expected = export_golden(family), golden.outputs(family, size)
    assert bundle.manifest.family == family  # recognised from the keys
    assert float(expected["scale"]) == bundle.manifest.scales[0].scale
    shape = expected["image"].shape[:2]

    keyframe = run(open_bodies(bundle.read(KEYFRAME)), keyframe_feeds(expected))
    stages = run(open_bodies(opened_up(bundle.read(NONKEYFRAME))), feeds_of(expected, keyframe["feature"]))
    found = {
        "hr_feature": keyframe["feature"],
        "warped_feature": stages["warped_feature"],
        "lr_feature": stages["lr_feature"],
        "fused_feature": stages["fused_feature"],
        "logits": final_logits(family, stages["logits"], shape),
    }
    if family != "camvid-psp18":
        found["hr_logits"] = final_logits(family, keyframe["logits"], shape)
    assert_matches(found, expected)
    assert agreement(keyframe["labels"], expected["hr_labels"]) >= LABELS
    assert agreement(stages["labels"], expected["labels"]) >= LABELS


@pytest.mark.parametrize("size", golden.SIZES)
@pytest.mark.parametrize("family", golden.FAMILIES)
def test_native_kernels_match_the_published_code(
    export_golden: Callable[[str], Bundle], family: str, size: str
) -> None:
    bundle, expected = export_golden(family), golden.outputs(family, size)
    keyframe = run(with_kernels(bundle.read(KEYFRAME)), keyframe_feeds(expected))
    session = with_kernels(bundle.read(NONKEYFRAME))
    stages = run(session, feeds_of(expected, keyframe["feature"]))
    found = {
        "hr_feature": keyframe["feature"],
        "lr_feature": stages["lr_feature"],
        "logits": final_logits(family, stages["logits"], expected["image"].shape[:2]),
    }
    assert_matches(found, expected)
    assert agreement(keyframe["labels"], expected["hr_labels"]) >= LABELS
    assert agreement(stages["labels"], expected["labels"]) >= LABELS
