"""The examples in the export side's docstrings run."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["operators.motion_warp", "operators.local_attention"])
def test_examples(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(f"arseg_edge.export.{name}"))
    assert outcome.attempted > 0
    assert outcome.failed == 0
