"""Creff against its NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest
import twins
from operator_session import run_operator

# (N, C, n, LR height and width, feature height and width, motion height and width)
SHAPES = [
    (1, 1, 1, 1, 1, 1, 1, 1, 1),
    (1, 3, 2, 1, 4, 1, 20, 8, 160),
    (1, 3, 5, 4, 1, 20, 1, 160, 8),
    (2, 5, 4, 3, 5, 6, 9, 12, 18),
    (1, 17, 12, 12, 20, 23, 40, 184, 320),
    (1, 6, 19, 30, 50, 19, 33, 19, 33),
    (1, 100, 3, 20, 60, 40, 120, 80, 240),
]


def random_inputs(random: np.random.Generator, shape: tuple[int, ...], reach: float = 3.0) -> dict[str, np.ndarray]:
    n, c, classes, lr_h, lr_w, h, w, height, width = shape
    shapes: dict[str, tuple[int, ...]] = {
        "lr_feature": (n, c, lr_h, lr_w),
        "keyframe_feature": (n, c, h, w),
        "motion": (n, height, width, 2),
        "query_weight": (c, 1, 3, 3),
        "query_bias": (c,),
        "key_weight": (c, 1, 3, 3),
        "key_bias": (c,),
        "value_weight": (c, 1, 3, 3),
        "value_bias": (c,),
        "head_weight": (classes, c, 1, 1),
        "head_bias": (classes,),
    }
    inputs = {name: (random.standard_normal(size) * 0.3).astype(np.float32) for name, size in shapes.items()}
    inputs["motion"] *= np.float32(reach * height / h / 0.3)
    return inputs


def assert_equals_twin(inputs: dict[str, np.ndarray], **attributes: object) -> None:
    actual = run_operator("Creff", inputs, **attributes)
    expected = twins.creff(**inputs, **attributes)  # type: ignore[arg-type]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("sampling", ["published", "consistent"])
def test_equals_its_twin(level: str, random: np.random.Generator, shape: tuple[int, ...], sampling: str) -> None:
    assert_equals_twin(random_inputs(random, shape), sampling=sampling, kernel_size=7)


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 11])
def test_other_kernel_sizes(level: str, random: np.random.Generator, kernel_size: int) -> None:
    inputs = random_inputs(random, (1, 4, 3, 10, 16, 20, 35, 40, 70))
    assert_equals_twin(inputs, sampling="published", kernel_size=kernel_size)


@pytest.mark.parametrize("value", [np.nan, np.inf, -(2.0**31)])
@pytest.mark.parametrize("sampling", ["published", "consistent"])
def test_hostile_motion(level: str, random: np.random.Generator, sampling: str, value: float) -> None:
    inputs = random_inputs(random, (1, 4, 3, 10, 16, 20, 35, 40, 70))
    inputs["motion"][:, 8:20, 30:50] = value
    assert_equals_twin(inputs, sampling=sampling, kernel_size=7)
