"""SegmentationLabels against its NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import twins
from onnx import TensorProto
from operator_session import run_operator

# (N, n, h, w, upscale, H, W): the families' own, then odd ones.
SHAPES = [
    (1, 12, 23, 30, 8, 180, 240),
    (1, 12, 24, 30, 8, 184, 240),
    (1, 12, 40, 75, 1, 40, 75),
    (1, 19, 16, 32, 1, 128, 256),
    (1, 1, 1, 1, 1, 1, 1),
    (2, 3, 1, 1, 8, 5, 7),
    (1, 5, 2, 40, 3, 9, 100),
    (1, 256, 4, 4, 2, 17, 19),
    (2, 4, 50, 60, 1, 20, 21),
    (1, 4, 9, 200, 2, 3, 11),
]


def labels_of(logits: np.ndarray, size: np.ndarray, upscale: int, align_corners: int = 1) -> np.ndarray:
    inputs = {"logits": logits, "size": size}
    return run_operator("SegmentationLabels", inputs, TensorProto.UINT8, upscale=upscale, align_corners=align_corners)


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_its_twin_up_to_ties(
    level: str, random: np.random.Generator, shape: tuple[int, ...], align_corners: int
) -> None:
    n, classes, h, w, upscale, height, width = shape
    logits = random.standard_normal((n, classes, h, w)).astype(np.float32)
    size = np.array([height, width])
    actual = labels_of(logits, size, upscale, align_corners)
    full = twins.full_logits(logits, size, upscale, align_corners)
    assert actual.shape == (n, height, width)
    assert actual.dtype == np.uint8
    chosen = np.take_along_axis(full, actual[:, None].astype(int), 1)
    np.testing.assert_allclose(chosen, full.max(1, keepdims=True), rtol=0, atol=1e-5)
    assert (actual == full.argmax(1)).mean() >= 0.9999


def test_equals_torch_at_the_size_of_bisenet(random: np.random.Generator) -> None:
    logits = random.standard_normal((1, 12, 23, 30)).astype(np.float32)
    full = torch.nn.functional.interpolate(
        torch.from_numpy(logits).double(), scale_factor=8, mode="bilinear", align_corners=False
    )
    full = torch.nn.functional.interpolate(full, (180, 240), mode="bilinear", align_corners=True)
    actual = labels_of(logits, np.array([180, 240]), 8)
    assert (actual == full.argmax(1).numpy()).mean() >= 0.9999


def test_corners_are_aligned_where_nothing_is_said(random: np.random.Generator) -> None:
    inputs = {"logits": random.standard_normal((1, 4, 6, 9)).astype(np.float32), "size": np.array([41, 50])}
    unsaid = run_operator("SegmentationLabels", inputs, TensorProto.UINT8, upscale=1)
    np.testing.assert_array_equal(unsaid, labels_of(*inputs.values(), 1, 1))
    assert (unsaid != labels_of(*inputs.values(), 1, 0)).any()


def test_equals_torch_without_aligned_corners(random: np.random.Generator) -> None:
    logits = random.standard_normal((1, 19, 17, 27)).astype(np.float32)
    full = torch.nn.functional.interpolate(
        torch.from_numpy(logits).double(), (135, 214), mode="bilinear", align_corners=False
    )
    actual = labels_of(logits, np.array([135, 214]), 1, 0)
    assert (actual == full.argmax(1).numpy()).mean() >= 0.9999


def test_the_first_of_equal_classes_wins(level: str) -> None:
    logits = np.zeros((1, 5, 3, 40), np.float32)
    logits[:, 2:4] = 1
    np.testing.assert_array_equal(labels_of(logits, np.array([3, 40]), 1), 2)
    np.testing.assert_array_equal(labels_of(logits, np.array([11, 95]), 2), 2)


def test_infinite_logits_of_the_same_size_are_compared(level: str) -> None:
    logits = np.zeros((1, 3, 2, 20), np.float32)
    logits[0, 1, 0, 5], logits[0, 0, 1, 6] = np.inf, -np.inf
    expected = np.zeros((1, 2, 20), np.uint8)
    expected[0, 0, 5], expected[0, 1, 6] = 1, 1
    np.testing.assert_array_equal(labels_of(logits, np.array([2, 20]), 1), expected)
