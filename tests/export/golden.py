"""The published code's own numbers, and the weights that they were computed with."""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

REFERENCE = Path(__file__).parents[1] / "reference"
FAMILIES = ("camvid-psp18", "camvid-bise18", "cityscapes-psp18", "cityscapes-bise18")
SIZES = ("64x96", "60x92")
SEED = {"hr": 0, "ar": 1}


def _fill_module() -> Any:
    spec = importlib.util.spec_from_file_location("fill", REFERENCE / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keys(family: str) -> dict[str, Any]:
    """Return the published layout: ``hr`` and ``ar`` as [key, shape] pairs, ``mean``, ``std``."""
    return json.loads((REFERENCE / f"{family}.keys.json").read_text())


@functools.lru_cache(maxsize=2)
def _weights(family: str, role: str) -> dict[str, np.ndarray]:
    return _fill_module().fill_state_dict(keys(family)[role], seed=SEED[role])


def weights(family: str, role: str) -> dict[str, np.ndarray]:
    """Return the golden weights of the ``hr`` or ``ar`` checkpoint, with ``module.`` in the keys."""
    return dict(_weights(family, role))


def published(family: str, role: str) -> dict[str, torch.Tensor]:
    """Return the same as tensors: what the published ``.pth`` file would hold."""
    return {key: torch.from_numpy(value) for key, value in weights(family, role).items()}


def outputs(family: str, size: str) -> dict[str, np.ndarray]:
    """Return the golden images, motion and stages for ``size``, such as ``64x96``."""
    with np.load(REFERENCE / f"{family}.{size}.npz") as file:
        return dict(file)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference relative to the largest expected magnitude."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())
