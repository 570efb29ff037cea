"""``arseg-edge train`` up to where PyTorch is needed: flags, files of settings, and what is refused at once.

Runs are in ``tests/training``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import Command

from arseg_edge.cli.training_progress import TrainingProgress
from arseg_edge.training.setting_table import SETTINGS

LR_ALONE = {
    "videos",
    "stretches",
    "soft_labels",
    "hr",
    "scale",
    "fusion_from",
    "similarity",
    "fusion",
    "motion",
    "start",
}


@pytest.mark.parametrize(("kind", "missing"), [("hr", LR_ALONE), ("lr", set())])
def test_help_has_a_flag_for_each_setting(kind: str, missing: set[str], arseg: Command) -> None:
    outcome = arseg("train", kind, "--help")
    assert outcome.code == 0
    flags = {name: f"--{name.replace('_', '-')} " for name in SETTINGS}
    assert {name for name, flag in flags.items() if flag not in outcome.out} == missing


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--epochs", "many"), "--epochs many: give a whole number of at least 1"),
        (("--data", "streets", "--data", "=3"), "--data streets streets =3: '=3': give a path"),
        (("--optimiser", "lion"), "--optimiser lion: choose adam, adamw or sgd"),
        (("--distance", "12"), "distance 12: must be below the interval"),
        (("--config", "nowhere.yaml"), "nowhere.yaml: "),
    ],
)
def test_flags_that_make_no_sense(flags: tuple[str, ...], complaint: str, arseg: Command, tmp_path: Path) -> None:
    outcome = arseg("train", "hr", "-o", tmp_path / "run", "--data", "streets", *flags)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {complaint}")
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("hr",), "no data set to train on: give --data"),
        (("lr", "--hr", "hr.pth"), "nothing to train on: give --videos"),
        (("lr", "--data", "streets"), "no teacher: give --hr"),
        (("lr", "--videos", "drives"), "no teacher: give --hr"),
    ],
)
def test_what_is_missing(arguments: tuple[str, ...], complaint: str, arseg: Command, tmp_path: Path) -> None:
    outcome = arseg("train", *arguments, "-o", tmp_path / "run")
    assert (outcome.code, outcome.out) == (2, "")
    assert complaint in outcome.err


def test_without_pytorch(arseg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("arseg_edge.training.train")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    outcome = arseg("train", "hr", "-o", tmp_path / "run", "--data", "streets")
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err == 'error: training needs torch, which is not installed: pip install "arseg-edge[cpu,train]"\n'


class Row(NamedTuple):
    epoch: int
    losses: dict[str, float]
    measure: str
    score: float | None


ROWS = (
    Row(1, {"segmentation": 1.5}, "miou", None),
    Row(2, {"segmentation": 0.25, "region": 0.5}, "miou", 61.237),
)


def show(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten pairs, and two epochs of two steps of a minute each, of which the first was done before."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    progress = TrainingProgress(80, lambda: None)
    for done in range(1, 21):
        now += 1
        progress.pairs(done, 20)
    for done in (3, 4):
        progress.step(done, 160)
        now += 60
    progress.row(ROWS[1])
    progress.close()


def test_progress_in_a_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    show(False, monkeypatch)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["[2/20] pairs made", "[4/20] pairs made"]
    assert lines[9:] == [
        "[20/20] pairs made",
        "epoch 2 of 80: segmentation 0.2500, region 0.5000, mIoU 61.24, 2 h 36 min left",
    ]


def test_progress_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    show(True, monkeypatch)
    drawn = capsys.readouterr().err.split("\r\033[K")
    assert f"{'█' * 12}{'·' * 12} 10 of 20 pairs made" in drawn
    assert f"{'·' * 24} step 4 of 160, 2 h 36 min left" in drawn
    assert "epoch 2 of 80: segmentation 0.2500, region 0.5000, mIoU 61.24\n" in drawn
    assert drawn[-1] == ""


def test_what_is_said_of_training_without_labels(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TrainingProgress(2, lambda: None)
    progress.videos(3, 7)
    progress.row(Row(2, {"soft labels": 0.25}, "agreement", 94.237))  # type: ignore[arg-type]
    assert capsys.readouterr().err.splitlines() == [
        "[3/7] videos read",
        "epoch 2 of 2: soft labels 0.2500, agreement 94.24 %",
    ]


def test_ctrl_c_is_looked_for_at_each_moment() -> None:
    asked = []
    progress = TrainingProgress(1, lambda: asked.append(None))
    progress.pairs(1, 2)
    progress.step(1, 2)
    assert len(asked) == 2
