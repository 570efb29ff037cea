"""The checkout works as it lies: a Python that is started in it imports the whole package and finds what was built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import arseg_edge

ROOT = Path(__file__).parent.parent
SCRIPT = """
import arseg_edge, arseg_edge.export.operators.bodies as bodies
from arseg_edge.runtime import native
with arseg_edge.load({bundle!r}, providers="cpu") as segmenter:
    places = arseg_edge.__file__, bodies.__file__, native.library_path()
    print(*places, segmenter.native, arseg_edge.__version__, sep="|")
"""


def imported_from(checkout: Path, bundle: Path) -> list[str]:
    """Load a bundle in a Python that starts in the checkout; return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(bundle=str(bundle))],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split("|")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout's package without anything built."""
    for name in ("arseg_edge", "export", "runtime"):
        shutil.copytree(
            ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("*.so", "__pycache__")
        )
    shutil.copy(ROOT / "CMakeLists.txt", tmp_path)
    return tmp_path


def test_a_checkout_is_the_whole_package(checkout: Path, tiny_bundle: Path) -> None:
    pytest.importorskip("onnxscript", reason="the export side needs the extra [export]")
    package, export, _, _, version = imported_from(checkout, tiny_bundle)
    assert Path(package).is_relative_to(checkout)
    assert Path(export).resolve() == (checkout / "export" / "operators" / "bodies.py").resolve()
    assert version == arseg_edge.__version__


def test_a_checkout_takes_the_library_that_was_built_in_it(checkout: Path, tiny_bundle: Path) -> None:
    pytest.importorskip("onnxscript", reason="the export side needs the extra [export]")
    from arseg_edge.runtime import native

    library = native.library_path()
    if library is None:
        pytest.skip("no native library here")
    built = checkout / "build" / "here" / library.name
    built.parent.mkdir(parents=True)
    shutil.copy(library, built)
    _, _, path, used, _ = imported_from(checkout, tiny_bundle)
    assert (Path(path), used) == (built, "True")
