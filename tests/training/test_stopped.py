"""Training that is told to stop by SIGTERM, from outside: it ends in time, leaves nothing half-written, and goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from test_train_command import flags

from arseg_edge.training.settings import HrSettings


def start(settings: HrSettings, folder: Path) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "arseg_edge", "train", "hr", "-o", str(folder), *flags(settings)]
    return subprocess.Popen(
        [*program, "--processes", "2"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are Unix's")
@pytest.mark.parametrize("wanted", ["pairs/*/*.npz", "run/state.pt"])
def test_stopped_and_taken_up_again(wanted: str, quick: HrSettings, tmp_path: Path) -> None:
    settings = replace(quick, cache=tmp_path / "pairs")
    process = start(settings, tmp_path / "run")
    while process.poll() is None and not list(tmp_path.glob(wanted)):
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode in (0, 143), said  # 0 where nothing was left to be done
    assert "Traceback" not in said
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in left if path.suffix == ".unfinished" or path.suffix[1:].isdigit()]
    process = start(settings, tmp_path / "run")
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert (tmp_path / "run" / "best.pth").exists()
