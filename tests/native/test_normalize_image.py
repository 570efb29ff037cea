"""NormalizeImage against its NumPy twin and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import twins
from operator_session import run_operator

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ATTRIBUTES = {
    f"{kind}_{colour}": value
    for kind, values in (("mean", MEAN), ("std", STD))
    for colour, value in zip("rgb", values, strict=True)
}

# (N, H, W, H', W')
SHAPES = [
    (1, 1, 1, 1, 1),
    (1, 1, 1, 5, 9),
    (2, 5, 7, 5, 7),
    (1, 36, 48, 18, 24),
    (1, 37, 131, 11, 39),
    (1, 10, 12, 1, 40),
    (1, 33, 20, 50, 1),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_its_twin(level: str, random: np.random.Generator, shape: tuple[int, ...]) -> None:
    n, height, width, to_height, to_width = shape
    frame = random.integers(0, 256, (n, height, width, 3)).astype(np.uint8)
    size = np.array([to_height, to_width])
    actual = run_operator("NormalizeImage", {"frame": frame, "size": size}, **ATTRIBUTES)
    np.testing.assert_allclose(actual, twins.normalize_image(frame, size, MEAN, STD), rtol=0, atol=2e-5)


def test_equals_torch(random: np.random.Generator) -> None:
    frame = random.integers(0, 256, (1, 72, 96, 3)).astype(np.uint8)
    pixels = torch.from_numpy(frame).permute(0, 3, 1, 2).double() / 255
    normal = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    expected = torch.nn.functional.interpolate(normal, (36, 48), mode="bilinear", align_corners=True)
    actual = run_operator("NormalizeImage", {"frame": frame, "size": np.array([36, 48])}, **ATTRIBUTES)
    np.testing.assert_allclose(actual, expected.numpy(), rtol=0, atol=2e-5)
