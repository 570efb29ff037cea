"""What all tests share: the real data beside the project, the tiny bundle, and what the header says."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest

TESTS = Path(__file__).parent
SHARED = TESTS.parent.parent / "shared"


def pytest_configure(config: pytest.Config) -> None:
    # A shell that starts this in the background lets it ignore Ctrl-C, which tests and what they run would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "long: runs for minutes; left out unless chosen with -m long")
    config.addinivalue_line("markers", "cuda: needs a CUDA device; ARSEG_EDGE_REQUIRE_CUDA=1 makes its lack fail")


def pytest_report_header(config: pytest.Config) -> str:
    from arseg_edge.runtime.native import state

    native = state()
    return (
        f"onnxruntime {onnxruntime.__version__}: {', '.join(onnxruntime.get_available_providers())}; "
        f"native operators: {native.simd if native.enabled else native.reason}"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "long" in (config.option.markexpr or ""):
        return
    chosen = [item for item in items if not item.get_closest_marker("long")]
    if len(chosen) != len(items):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = chosen


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Return the path of real data beside the project; a test that needs it says so where it is absent."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            message = f"needs ../shared/{name}, which is not there"
            if os.environ.get("ARSEG_EDGE_REQUIRE_SHARED") == "1":
                pytest.fail(message)
            pytest.skip(message)
        return path

    return find


@pytest.fixture(scope="session")
def tiny_bundle() -> Path:
    """A bundle of a network of three layers, any size, LR scales 0.5 and 0.3 (tests/data/make_tiny_bundle.py)."""
    return TESTS / "data" / "tiny.arseg"


@pytest.fixture(scope="session")
def tiny_fixed_bundle() -> Path:
    """The same network for frames of 64×96 only."""
    return TESTS / "data" / "tiny-64x96.arseg"
