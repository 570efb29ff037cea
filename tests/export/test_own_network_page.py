"""What ``docs/your-own-network.md`` tells a person to do, done: its Python and its commands, on small things."""

from __future__ import annotations

import re
import shlex
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch
from small_models import plain
from test_own_module import Lraspp

from arseg_edge.cli import main
from arseg_edge.datasets.encode import Encoding, encode_clip
from arseg_edge.runtime.load import load

PAGE = Path(__file__).parents[2] / "docs" / "your-own-network.md"
QUICK = {
    "train": (
        "--interval 4 --variants 1 --validation-variants 1 --crop 64x64 --epochs 1 --batch-size 2 --warm-up 2 "
        "--threads 1 --processes 1 --device cpu"
    ),
    "export": "--size 64x96",
    "bench": "--rounds 1",
}
"""Sizes of a run that a test has the time for, put behind the page's own words."""

NETWORK = """import torch.nn.functional as F
from torch import nn

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.last = nn.Conv2d(8, 3, 1)

    def forward(self, image):
        return F.interpolate(self.last(self.body(image)), image.shape[2:], mode="bilinear")
"""


def code(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page's reader has, the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    (tmp_path / "drives").mkdir()
    for seed, name in enumerate(("first.mp4", "last.mp4")):
        waves = np.add.outer(np.sin(np.arange(64) / (5 + seed)), np.cos(np.arange(130) / 7))
        wide = np.stack([waves * 50 + 120, waves.T.mean() - waves * 30 + 120, waves * 20 + 90], -1).astype(np.uint8)
        frames = [np.ascontiguousarray(wide[:, 2 * index : 2 * index + 96]) for index in range(14)]
        encode_clip(frames, tmp_path / "drives" / name, Encoding("libx264", 3_000_000, 250, Fraction(25)))
    return tmp_path


def test_eight_lines_from_torchvision_to_labels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = code("python")[0]
    assert len(first.splitlines()) <= 8
    for name in ("torchvision", "torchvision.models", "torchvision.models.segmentation"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["torchvision.models.segmentation"].lraspp_mobilenet_v3_large = lambda weights: Lraspp().eval()  # type: ignore[attr-defined]
    found: dict[str, list[object]] = {}
    exec(compile(first, PAGE.name, "exec"), found)
    assert len(found["results"]) == 14
    with load("lraspp.arseg") as segmenter:
        assert segmenter.bundle.manifest.family == "Lraspp"


def test_every_command_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(plain(), "network.onnx")
    (folder / "mynet.py").write_text(code("python")[1])
    (folder / "network.py").write_text(NETWORK)
    for name in ("mynet", "network"):
        sys.modules.pop(name, None)
    torch.save(__import__("network").Network().state_dict(), "network.pth")
    commands = [shlex.split(line)[1:] for block in code("bash") for line in block.splitlines() if "arseg-edge" in line]
    assert [words[0] for words in commands] == ["convert", "run", "bench", "train", "export", "compare"]
    for words in commands:
        with pytest.raises(SystemExit) as raised:
            main([*words, *QUICK.get(words[0], "").split()])
        captured = capsys.readouterr()
        assert raised.value.code == 0, (words, captured.err)
    for made in ("network.arseg", "labels.mp4", "runs/lr/best.pth", "mine.arseg"):
        assert (folder / made).stat().st_size > 1000
