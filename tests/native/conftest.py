"""Fixtures of the native operators' tests."""

from __future__ import annotations

import numpy as np
import pytest
from operator_session import LEVELS, require_library

from arseg_edge.runtime import native


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each SIMD level in turn; operators created in the test use it."""
    require_library()
    name = str(request.param)
    monkeypatch.setenv("ARSEG_EDGE_SIMD", name)
    if native.state().simd != name:
        pytest.skip(f"this processor, or this build, has no {name}")
    return name


@pytest.fixture
def random() -> np.random.Generator:
    """The same numbers in every run."""
    return np.random.default_rng(0)
