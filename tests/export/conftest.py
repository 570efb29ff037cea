"""Fixtures of the export side's tests."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import golden
import numpy as np
import pytest

from arseg_edge.bundle import Bundle
from arseg_edge.export import exporter

TESTS = Path(__file__).parents[1]
# The NumPy twins of the operators, and the network that is in no list of families.
sys.path[:0] = [str(TESTS / "native"), str(TESTS / "data")]

ExportGolden = Callable[[str], Bundle]


@pytest.fixture
def random() -> np.random.Generator:
    """The same numbers in every run."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def export_golden(tmp_path_factory: pytest.TempPathFactory) -> ExportGolden:
    """Export a published family for any size with the golden weights, once for all tests."""
    folder = tmp_path_factory.mktemp("golden")

    @functools.cache
    def export(family: str) -> Bundle:
        hr, lr = (golden.published(family, role) for role in ("hr", "ar"))
        with pytest.MonkeyPatch.context() as patch:
            # The golden numbers are the better check; PyTorch's attention at full size takes half a minute.
            patch.setattr(exporter, "_DYNAMIC_PARITY_SIZES", ((64, 96), (33, 47)))
            return exporter.export_bundle(None, hr=hr, lr=lr, out=folder / f"{family}.arseg", scale=0.5)

    return export
