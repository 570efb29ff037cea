"""``run --budget``: said in the summary, and refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import FRAMES, Command


def test_the_summary_says_what_came_of_it(arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    said = arseg("run", clip, "-m", tiny_bundle, "--labels", tmp_path / "a", "--budget", "10000ms", "--json").json
    budget = said["budget"]
    assert (budget["milliseconds"], budget["met"], budget["interval"], budget["lr_every"]) == (10_000, True, 1, None)
    assert (budget["lookahead"], budget["size"]) == (True, [360, 480])
    assert 0 < budget["reached"] < 10_000
    assert set(budget["costs"]) == {"every", "hr", "lr", "moved"}
    assert said["branches"] == {"hr": FRAMES}
    done = arseg("run", clip, "-m", tiny_bundle, "--labels", tmp_path / "b", "--budget", "1000000fps", "--no-lookahead")
    assert done.code == 0
    assert "budget 0.001 ms a frame cannot be met" in done.out


def test_without_a_budget_there_is_none(arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    said = arseg("run", clip, "-m", tiny_bundle, "--labels", tmp_path, "--json").json
    assert said["budget"] is None


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--budget", "40"), "budget '40': must be milliseconds a frame or frames a second"),
        (("--budget", "0fps"), "budget '0fps'"),
        (("--budget", "40ms", "--interval", "6"), "both budget 40ms and interval 6"),
        (("--budget", "40ms", "--no-lookahead", "--lr-every", "3"), "both budget 40ms and lr_every 3"),
        (("--budget", "40ms", "--schedule", "paper"), "budget 40ms: the paper's schedule has a fixed interval"),
    ],
)
def test_what_is_refused(
    arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    done = arseg("run", clip, "-m", tiny_bundle, "--labels", tmp_path / "labels", *flags)
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert said in done.err
    assert not (tmp_path / "labels").exists()
