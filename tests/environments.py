"""Environments of their own for tests: the package's wheel beside another runtime than the one that runs the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout in ``folder``."""
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def make_environment(folder: Path, requirements: Sequence[str | Path]) -> Path:
    """Return the Python of a fresh virtual environment in ``folder`` that has these installed."""
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", *requirements], check=True)
    return python


def run_in(folder: Path, command: Sequence[str | Path], variables: Mapping[str, str] | None = None) -> str:
    """Return what ``command`` prints, with no more of this environment than where programs are.

    It runs in ``folder``, not in the checkout: there ``python -m`` would take the checkout's sources.
    """
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **(variables or {})}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr[-4000:]}"
    return done.stdout
