"""Killed at any moment, and taken up again: the same bits as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from arseg_edge import whole_files as files
from arseg_edge.training.settings import HrSettings, LrSettings
from arseg_edge.training.train import Watcher, train_hr, train_lr

# A child is not forked from the tests, whose threads it would lack, and need not import PyTorch each time.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["arseg_edge.training.train"])


def kill_oneself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def child(settings: HrSettings, folder: Path, stage: str, count: int) -> None:
    """Train until something happens for the ``count``-th time, and die of it."""
    torch.set_num_threads(1)
    left = count

    def die(*_: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            kill_oneself()

    original = Path.replace

    def die_before_replacing(path: Path, target: Path) -> Path:
        if target.name == stage:
            die()
        return original(path, target)

    Path.replace = die_before_replacing  # type: ignore[method-assign, assignment]
    watcher = Watcher(on_pairs=die if stage == "pairs" else None, on_step=die if stage == "step" else None)
    train(settings, folder, watcher)


def train(settings: HrSettings, folder: Path, watcher: Watcher | None = None) -> None:
    if isinstance(settings, LrSettings):
        train_lr(settings, folder, watcher=watcher)
    else:
        train_hr(settings, folder, watcher=watcher)


# While pairs are made, between the steps, and just before each kind of file is replaced.
DEATHS = [
    ("pairs", 3),
    ("config.yaml", 1),
    ("step", 1),
    ("state.pt", 2),
    ("best.pth", 1),
    ("step", 2),
    ("curves.csv", 1),
]


@pytest.mark.parametrize("what", ["hr", "lr"])
def test_killed_again_and_again(what: str, quick: HrSettings, tmp_path: Path) -> None:
    settings = replace(quick, epochs=3, save_every=1, cache=tmp_path / "pairs")
    if what == "lr":
        teacher = train_hr(replace(settings, epochs=1), tmp_path / "teacher").best
        settings = LrSettings(**{**vars(settings), "hr": teacher, "fusion_from": 1, "cache": tmp_path / "pairs-lr"})
    for stage, count in DEATHS:
        process = SERVER.Process(target=child, args=(settings, tmp_path / "killed", stage, count))
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL, stage
    train(settings, tmp_path / "killed")
    train(replace(settings, cache=quick.cache), tmp_path / "whole")
    for name in ("best.pth", "curves.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_file_that_is_being_replaced_is_whole_at_every_moment(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    files.replace_text(path, "first")

    def fail(file: Any) -> None:
        file.write(b"sec")
        assert path.read_text() == "first"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.replace_file(path, fail)
    assert path.read_text() == "first"
    files.replace_text(path, "second")
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]
