"""How sure SegmentationLabels is: against its twin in float64 and against PyTorch."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import twins
from numpy.typing import NDArray
from onnx import TensorProto
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state
from operator_session import run_operator, run_outputs

Image = NDArray[np.float32]

# (N, n, h, w, upscale, H, W): as networks have them, then odd ones, and one with more classes than a word has bits.
SHAPES = [
    (1, 12, 23, 30, 8, 180, 240),
    (1, 12, 24, 30, 8, 184, 240),
    (1, 12, 40, 75, 1, 40, 75),
    (1, 19, 16, 32, 1, 128, 256),
    (1, 1, 1, 1, 1, 1, 1),
    (2, 3, 1, 1, 8, 5, 7),
    (1, 5, 2, 40, 3, 9, 100),
    (1, 32, 9, 11, 4, 77, 90),
    (1, 33, 9, 11, 4, 77, 90),
    (2, 4, 50, 60, 1, 20, 21),
    (1, 4, 9, 200, 2, 3, 11),
]


def run(
    logits: Image, size: tuple[int, int], asked: tuple[int, int], upscale: int, align_corners: int = 1
) -> list[NDArray[np.uint8]]:
    """Return labels and confidence."""
    inputs = {"logits": logits, "size": np.array(size), "confidence_size": np.array(asked)}
    rule = {"upscale": upscale, "align_corners": align_corners}
    return run_outputs("SegmentationLabels", inputs, ("labels", "confidence"), TensorProto.UINT8, **rule)


def labels_alone(logits: Image, size: tuple[int, int], upscale: int, align_corners: int = 1) -> Image:
    rule = {"upscale": upscale, "align_corners": align_corners}
    return run_operator("SegmentationLabels", {"logits": logits, "size": np.array(size)}, TensorProto.UINT8, **rule)


def share(logits: Image, size: tuple[int, int], upscale: int, align_corners: int = 1) -> NDArray[np.float64]:
    """255 times the largest softmax probability of the resized logits."""
    full = twins.full_logits(logits, np.array(size), upscale, align_corners)
    return 255 / np.exp(full - full.max(1, keepdims=True)).sum(1)


def regions(random: np.random.Generator, shape: tuple[int, int, int, int], scale: float) -> Image:
    """Logits as trained networks have them: smooth, and far apart in the middle of things."""
    n, classes, h, w = shape
    coarse = random.standard_normal((n * classes, 4, 5)).astype(np.float32) * scale
    smooth = [cv2.resize(each, (w, h), interpolation=cv2.INTER_CUBIC) for each in coarse]
    return np.stack(smooth).reshape(shape).astype(np.float32)


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("scale", [1.0, 12.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_share_of_the_winner(
    level: str, random: np.random.Generator, shape: tuple[int, ...], scale: float, align_corners: int
) -> None:
    n, classes, h, w, upscale, height, width = shape
    size = height, width
    for logits in (
        (scale * random.standard_normal((n, classes, h, w))).astype(np.float32),
        regions(random, (n, classes, h, w), scale),
    ):
        labels, confidence = run(logits, size, size, upscale, align_corners)
        assert confidence.dtype == np.uint8
        assert confidence.shape == labels.shape == (n, height, width)
        # Off by less than 1, the rounding included.
        assert np.abs(confidence - share(logits, size, upscale, align_corners)).max() <= 1
        np.testing.assert_array_equal(labels, labels_alone(logits, size, upscale, align_corners))


def test_equals_torch_at_the_size_of_bisenet(level: str, random: np.random.Generator) -> None:
    logits = regions(random, (1, 12, 23, 30), 9.0)
    full = torch.nn.functional.interpolate(
        torch.from_numpy(logits).double(), scale_factor=8, mode="bilinear", align_corners=False
    )
    full = torch.nn.functional.interpolate(full, (180, 240), mode="bilinear", align_corners=True)
    expected = 255 * full.softmax(1).amax(1).numpy()
    _, confidence = run(logits, (180, 240), (180, 240), 8)
    assert np.abs(confidence - expected).max() <= 1
    assert np.abs(confidence - expected).mean() <= 0.3  # of rounding alone 0.25
    assert (confidence == 255).mean() > 0.1
    assert (confidence < 200).mean() > 0.1


def test_nobody_asks(level: str, random: np.random.Generator) -> None:
    logits = regions(random, (2, 7, 10, 12), 4.0)
    labels, confidence = run(logits, (75, 91), (0, 0), 8)
    assert confidence.shape == (2, 0, 0)
    np.testing.assert_array_equal(labels, labels_alone(logits, (75, 91), 8))


@pytest.mark.parametrize("size", [(2, 20), (16, 160)])
def test_what_is_no_number_is_not_sure(level: str, size: tuple[int, int]) -> None:
    logits = np.zeros((1, 3, 2, 20), np.float32)
    logits[0, 1, :, 4] = -np.inf
    logits[0, 2, :, 9] = np.nan
    logits[0, 2, :, 15] = np.inf
    step = size[1] // 20
    _, confidence = run(logits, size, size, 1, 0)
    middle = confidence[0, size[0] // 2, step // 2 :: step]
    if step == 1:
        expected = np.full(20, 85)
        expected[[4, 9, 15]] = 128, 0, 0
        np.testing.assert_allclose(middle, expected, rtol=0, atol=1)
    else:
        # Between two places both count.
        assert {*middle[[9, 15]].tolist()} == {0}
        assert {*middle[[0, 1, 12, 18]].tolist()} == {85}


def test_far_apart_and_huge(level: str) -> None:
    """Neither overflows, and at a seam both sides have the same share."""
    logits = np.zeros((1, 4, 3, 16), np.float32)
    logits[0, 0, :, :8], logits[0, 1, :, 8:] = 3e4, 3e4
    labels, confidence = run(logits, (48, 255), (48, 255), 1)
    assert labels[0, 20, 127] in (0, 1)
    assert confidence[0, 20, 127] in (127, 128)
    assert {*confidence[0, 20, [0, 60, 190, 254]].tolist()} == {255}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([3, 20], r"confidence_size is \[3, 20\], expected the labels' size, \[2, 20\], or \[0, 0\] for none"),
        ([0, 20], r"confidence_size is \[0, 20\]"),
        ([-1, -1], r"confidence_size is \[-1, -1\]"),
        ([2, 20, 1], r"confidence_size has shape \[3\], expected \[2\]"),
    ],
)
def test_another_size_is_refused(asked: list[int], message: str) -> None:
    inputs = {"logits": np.zeros((1, 3, 2, 20), np.float32), "size": np.array([2, 20])}
    with pytest.raises(ort_state.InvalidArgument, match=message):
        run_outputs(
            "SegmentationLabels",
            {**inputs, "confidence_size": np.array(asked)},
            ("labels", "confidence"),
            TensorProto.UINT8,
        )


def test_confidence_without_its_size_is_refused() -> None:
    inputs = {"logits": np.zeros((1, 3, 2, 20), np.float32), "size": np.array([2, 20])}
    with pytest.raises(ort_state.InvalidArgument, match="give the input confidence_size"):
        run_outputs("SegmentationLabels", inputs, ("labels", "confidence"), TensorProto.UINT8)
