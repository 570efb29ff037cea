"""LocalAttention against its NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest
import twins
from operator_session import run_operator

SHAPES = [
    (1, 1, 1, 1),
    (1, 3, 1, 20),
    (1, 5, 20, 1),
    (2, 4, 5, 7),
    (1, 17, 8, 33),
    (1, 16, 40, 16),
    (3, 2, 21, 130),
]


def random_inputs(random: np.random.Generator, shape: tuple[int, ...], scale: float = 0.5) -> dict[str, np.ndarray]:
    return {name: (random.standard_normal(shape) * scale).astype(np.float32) for name in ("query", "key", "value")}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7, 9])
def test_equals_its_twin(level: str, random: np.random.Generator, shape: tuple[int, ...], kernel_size: int) -> None:
    inputs = random_inputs(random, shape)
    actual = run_operator("LocalAttention", inputs, kernel_size=kernel_size)
    np.testing.assert_allclose(actual, twins.local_attention(**inputs, kernel_size=kernel_size), rtol=0, atol=1e-5)


def test_kernel_size_is_seven_unless_given(random: np.random.Generator) -> None:
    inputs = random_inputs(random, (1, 4, 9, 9))
    expected = twins.local_attention(**inputs, kernel_size=7)
    np.testing.assert_allclose(run_operator("LocalAttention", inputs), expected, rtol=0, atol=1e-5)


def test_strips_and_bands_meet_without_a_seam(level: str, random: np.random.Generator) -> None:
    inputs = random_inputs(random, (1, 96, 75, 150), scale=0.3)
    actual = run_operator("LocalAttention", inputs, kernel_size=7)
    np.testing.assert_allclose(actual, twins.local_attention(**inputs, kernel_size=7), rtol=0, atol=1e-5)


def test_large_scores_do_not_overflow(level: str, random: np.random.Generator) -> None:
    inputs = random_inputs(random, (1, 8, 6, 18), scale=30.0)
    actual = run_operator("LocalAttention", inputs, kernel_size=7)
    expected = twins.local_attention(**inputs, kernel_size=7)
    # Scores reach thousands, where float32 has steps of 1e-4: what is left are ties broken slightly differently.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-3 * np.abs(expected).max())


def test_not_a_number_stays_in_its_neighbourhood(level: str, random: np.random.Generator) -> None:
    inputs = random_inputs(random, (1, 4, 20, 40))
    clean = run_operator("LocalAttention", inputs, kernel_size=7)
    inputs["key"][0, 2, 10, 20] = np.nan
    dirty = run_operator("LocalAttention", inputs, kernel_size=7)
    touched = np.zeros((20, 40), bool)
    touched[7:14, 17:24] = True
    assert np.isnan(dirty[:, :, touched]).all()
    np.testing.assert_array_equal(dirty[:, :, ~touched], clean[:, :, ~touched])
