"""MotionWarp against its NumPy twin, and against torch's grid_sample where the rules meet."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import twins
from operator_session import run_operator

# (N, C, h, w, H, W): single pixels, rows, columns, sizes around the vector widths, several images.
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (1, 3, 1, 9, 4, 70),
    (1, 3, 9, 1, 70, 4),
    (1, 5, 7, 13, 7, 13),
    (2, 3, 16, 16, 33, 65),
    (1, 2, 10, 50, 80, 400),
    (3, 17, 11, 31, 5, 6),
]


def random_motion(random: np.random.Generator, n: int, height: int, width: int, reach: float) -> np.ndarray:
    return (random.standard_normal((n, height, width, 2)) * reach).astype(np.float32)


def block_motion(random: np.random.Generator, n: int, height: int, width: int) -> np.ndarray:
    """As a codec has it: the same for whole 8×8 blocks, in quarter pixels."""
    blocks = random.integers(-40, 40, (n, -(-height // 8), -(-width // 8), 2)) / 4
    return blocks.repeat(8, 1).repeat(8, 2)[:, :height, :width].astype(np.float32)


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("sampling", ["published", "consistent"])
def test_equals_its_twin(level: str, random: np.random.Generator, shape: tuple[int, ...], sampling: str) -> None:
    n, c, h, w, height, width = shape
    feature = random.standard_normal((n, c, h, w)).astype(np.float32)
    for motion in (random_motion(random, n, height, width, 8.0), block_motion(random, n, height, width)):
        actual = run_operator("MotionWarp", {"feature": feature, "motion": motion}, sampling=sampling)
        assert_close(actual, twins.motion_warp(feature, motion, sampling))


def test_published_rule_is_grid_sample_with_the_mismatched_corners(random: np.random.Generator) -> None:
    h, w = 12, 20
    feature = random.standard_normal((1, 4, h, w)).astype(np.float32)
    motion = random_motion(random, 1, 48, 80, 6.0)
    small = torch.nn.functional.interpolate(
        torch.from_numpy(motion).double().permute(0, 3, 1, 2) * (h / 48),
        (h, w),
        mode="bilinear",
        align_corners=True,
    )
    x = 2 * (torch.arange(w) + small[:, 0]) / (w - 1) - 1
    y = 2 * (torch.arange(h)[:, None] + small[:, 1]) / (h - 1) - 1
    expected = torch.nn.functional.grid_sample(
        torch.from_numpy(feature).double(), torch.stack([x, y], -1), padding_mode="zeros", align_corners=False
    )
    actual = run_operator("MotionWarp", {"feature": feature, "motion": motion}, sampling="published")
    assert_close(actual, expected.numpy())


def test_consistent_rule_without_motion_is_the_identity(level: str, random: np.random.Generator) -> None:
    feature = random.standard_normal((1, 3, 9, 21)).astype(np.float32)
    motion = np.zeros((1, 36, 84, 2), np.float32)
    actual = run_operator("MotionWarp", {"feature": feature, "motion": motion}, sampling="consistent")
    np.testing.assert_array_equal(actual, feature)


def test_consistent_rule_moves_by_whole_pixels(level: str, random: np.random.Generator) -> None:
    feature = random.standard_normal((1, 2, 8, 40)).astype(np.float32)
    motion = np.zeros((1, 8, 40, 2), np.float32)
    motion[..., 0], motion[..., 1] = 3, -2
    actual = run_operator("MotionWarp", {"feature": feature, "motion": motion}, sampling="consistent")
    np.testing.assert_array_equal(actual[:, :, 2:, :-3], feature[:, :, :-2, 3:])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**31, -(2.0**31), 3e38, -3e38])
@pytest.mark.parametrize("sampling", ["published", "consistent"])
def test_hostile_motion_gives_defined_samples(
    level: str, random: np.random.Generator, sampling: str, value: float
) -> None:
    feature = random.standard_normal((1, 3, 9, 35)).astype(np.float32)
    motion = random_motion(random, 1, 9, 35, 2.0)
    motion[:, 3:7, 5:30, random.integers(2)] = value
    actual = run_operator("MotionWarp", {"feature": feature, "motion": motion}, sampling=sampling)
    assert np.isfinite(actual).all()
    assert_close(actual, twins.motion_warp(feature, motion, sampling))
