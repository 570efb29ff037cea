"""Every command on a bundle with HR alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from clips import street_clip
from command_line import Command
from hr_alone import hr_alone
from labelled_street import write_camvid_street

from arseg_edge.demo import demo_bundle


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hr_alone(demo_bundle(), tmp_path_factory.mktemp("alone") / "alone.arseg").path


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return street_clip(tmp_path_factory.mktemp("clip") / "street.mp4", 14)


def test_info(arseg: Command, alone: Path) -> None:
    done = arseg("info", alone)
    assert (done.code, done.err) == (0, "")
    facts = dict(line.split("  ", 1) for line in done.out.split("\n\n")[0].splitlines())
    assert facts["LR scales"].strip() == "none: HR alone"
    assert "motion" not in facts
    assert [line.split()[0] for line in done.out.split("\n\n")[1].splitlines()[2:]] == ["HR"]
    found = arseg("info", alone, "--json").json
    assert (found["scales"], found["motion"], found["saving"], found["damaged"]) == ([], None, {}, {})


def test_run(arseg: Command, alone: Path, short: Path, tmp_path: Path) -> None:
    done = arseg("run", short, "-m", alone, "--labels", tmp_path / "labels", "--json", "--threads", "1")
    assert done.code == 0
    assert len(list((tmp_path / "labels").iterdir())) == 14


@pytest.mark.parametrize("flags", [("--schedule", "paper"), ("--lr-every", "3"), ("--scale", "0.5")], ids=str)
def test_run_says_what_needs_lr(
    arseg: Command, alone: Path, short: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    done = arseg("run", short, "-m", alone, "--labels", tmp_path / "labels", *flags)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "alone.arseg has HR alone" in done.err
    assert not (tmp_path / "labels").exists()


def test_compare(arseg: Command, alone: Path, short: Path) -> None:
    done = arseg("compare", short, "-m", alone, "--threads", "1")
    assert (done.code, done.err) == (0, "")
    head, schedules, times, advice = done.out.strip().split("\n\n")
    assert head.startswith("alone.arseg on ")
    assert "AR (paper)" not in schedules
    assert [line[:14].strip() for line in times.splitlines()[2:]] == ["HR", "adaptive, live", "adaptive, file"]
    assert advice.splitlines() == [
        "for a file like this take --schedule adaptive",
        "for a live source like this take --schedule adaptive",
    ]
    strict = arseg("compare", short, "-m", alone, "--threads", "1", "--agreement", "100")
    assert strict.out.splitlines()[-1] == "for a live source like this take --interval 1: no schedule agrees on 100 %"
    facts = arseg("compare", short, "-m", alone, "--threads", "1", "--json").json
    assert facts["scales"] == {}
    assert [row["name"] for row in facts["schedules"]][:2] == ["hr", "hr-every-2-one-side"]


def test_eval(arseg: Command, alone: Path, tmp_path: Path) -> None:
    street = write_camvid_street(tmp_path / "camvid", 13)
    fast = ("--interval", "4", "--shifts", "2", "--threads", "1")
    whole = arseg("eval", street, *fast, "--json").json
    found = arseg("eval", street, "-m", alone, *fast, "--json").json
    assert list(found["methods"]) == ["hr"]
    # An encoder on several threads does not write the same bits again.
    means = [each["methods"]["hr"]["miou_together"] for each in (found, whole)]
    assert means[0] == pytest.approx(means[1], abs=1)
    rows = {row["name"]: row for row in whole["schedules"]}
    assert [row["name"] for row in found["schedules"]] == [
        name for name in rows if name not in ("lr", "ar", "adaptive-live-lr")
    ]
    for row in found["schedules"]:
        assert row["frames"] == rows[row["name"]]["frames"]
        assert row["arithmetic"] == pytest.approx(rows[row["name"]]["arithmetic"])
        assert row["miou"] == pytest.approx(rows[row["name"]]["miou"], abs=1)
    done = arseg("eval", street, "-m", alone, *fast, "--min-miou", "99")
    assert done.code == 6
    assert "(HR alone)" in done.out
    assert "adaptive, file has " in done.err
    refused = arseg("eval", street, "-m", alone, *fast, "--zero-motion")
    assert (refused.code, "HR alone" in refused.err) == (2, True)


def test_bench_and_probe(arseg: Command, alone: Path, short: Path) -> None:
    done = arseg("bench", short, "-m", alone, "--rounds", "1", "--interval", "4", "--threads", "1")
    assert done.code == 0
    assert "paper" not in done.out
    assert "LR" not in done.out
    facts = arseg("bench", short, "-m", alone, "--rounds", "1", "--interval", "4", "--threads", "1", "--json").json
    assert facts["bound"] is None
    assert arseg("probe", short, "-m", alone).code == 0


def test_verify(arseg: Command, alone: Path) -> None:
    assert arseg("verify", alone).code == 0
