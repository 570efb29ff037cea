"""The scripts that people copy, run as people run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import av
import pytest
from clips import STREET, street_clip

import arseg_edge
from arseg_edge.bundle import read_bundle

SAMPLES = STREET.parent
FRAMES = 15


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return street_clip(tmp_path_factory.mktemp("samples") / "street.mp4", FRAMES)


def run(script: str, *arguments: str | Path) -> list[str]:
    """Return the lines that a sample prints."""
    command = [sys.executable, str(SAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


def test_segment_file(tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    lines = run("segment_file.py", clip, tmp_path / "overlay.mp4", "--bundle", tiny_bundle)
    shares = {name: float(share.rstrip("%")) for name, share in map(str.split, lines)}
    assert list(shares) == ["sky", "road", "car"]
    assert sum(shares.values()) == pytest.approx(100, abs=0.2)
    with arseg_edge.load(tiny_bundle) as segmenter:
        sky = [float((result.labels == 0).mean()) for result in segmenter.stream(clip)]
    assert shares["sky"] == pytest.approx(100 * sum(sky) / FRAMES, abs=0.1)
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        assert len(list(container.decode(video=0))) == FRAMES


def test_own_decoder(tiny_bundle: Path, clip: Path) -> None:
    lines = run("own_decoder.py", clip, "--bundle", tiny_bundle, "--interval", "4")
    assert len(lines) == FRAMES
    for number, line in enumerate(lines):
        assert re.fullmatch(rf"{number} (key|   ) [0-9.]+ ms", line)
        assert ("key" in line) == (number % 4 == 0)


def test_own_network(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="exporting needs the extra [export]")
    bundle = tmp_path / "small.arseg"
    lines = run("own_network.py", bundle, "2")
    found = read_bundle(bundle)
    assert found.manifest.family == "small"
    assert "forward" in {figure.stage for figure in found.parity}
    assert len(lines) == 96
    for number, line in enumerate(lines):
        assert re.fullmatch(rf"{number} (hr|moved) [0-9.]+%", line)
    assert {line.split()[1] for line in lines} == {"hr", "moved"}


def test_own_network_is_short() -> None:
    assert len((SAMPLES / "own_network.py").read_text().splitlines()) <= 60


@pytest.mark.parametrize("script", ["segment_file.py", "own_decoder.py", "export_checkpoints.py"])
def test_samples_are_short(script: str) -> None:
    assert len((SAMPLES / script).read_text().splitlines()) <= 40
