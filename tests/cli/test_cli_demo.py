"""Commands that are given no bundle take the demo model."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import FRAMES, Command

from arseg_edge import demo
from arseg_edge.demo import demo_bundle


def test_run_says_so(arseg: Command, clip: Path, tmp_path: Path) -> None:
    done = arseg("run", clip, "-o", tmp_path / "overlay.mp4", "--json")
    assert done.code == 0
    assert (done.json["model"], done.json["frames"]) == (str(demo_bundle()), FRAMES)
    (line,) = done.err.splitlines()
    assert "the demo model" in line


def test_run_is_silent_where_it_was_named(arseg: Command, clip: Path, tmp_path: Path) -> None:
    assert arseg("run", clip, "-m", demo_bundle(), "-o", tmp_path / "overlay.mp4").err == ""


@pytest.mark.parametrize("command", ["info", "verify"])
def test_reports(arseg: Command, command: str) -> None:
    default, named = arseg(command, "--json"), arseg(command, demo_bundle(), "--json")
    assert (default.code, default.err) == (0, "")
    assert default.json == named.json


def test_bench(arseg: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    done = arseg("bench", "none.mp4")
    assert (done.code, done.out) == (5, "")
    monkeypatch.setattr(demo, "_NAME", "none.arseg")
    assert arseg("bench", "none.mp4").code == 3


@pytest.mark.parametrize("command", ["run", "bench", "info", "verify"])
def test_an_installation_without_it(
    arseg: Command, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(demo, "_NAME", "none.arseg")
    video = ["none.mp4"] if command in ("run", "bench") else []
    done = arseg(command, *video)
    assert (done.code, done.out) == (3, "")
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert "none.arseg: this installation lacks the demo model" in line
    assert arseg("info", tiny_bundle).code == 0


@pytest.mark.parametrize("command", ["run", "bench", "info", "verify"])
def test_help_says_so(arseg: Command, command: str) -> None:
    assert "[default: the demo model]" in " ".join(arseg(command, "--help").out.split())
