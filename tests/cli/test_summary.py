"""The summary of a run tells a person everything that was not as it should be."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from command_line import FRAMES, Command

from arseg_edge.cli.summary import Summary
from arseg_edge.results import Result, Speed
from arseg_edge.runtime.source.incidents import Incident


class Picture:
    rgb = np.zeros((48, 64, 3), np.uint8)


def summary() -> Summary:
    return Summary("street.mp4", "street.arseg", "CPUExecutionProvider", True, ["o.mp4"])


def said(of: Summary, capsys: pytest.CaptureFixture[str]) -> list[str]:
    of.show(False, to_stderr=False)
    return capsys.readouterr().out.splitlines()


def test_what_happened_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    of = summary()
    of.incidents = {"damaged": 1, "joined": 1, "missing": 4, "resized": 2, "turned": 14, "outliers": 3}
    assert said(of, capsys)[-2] == (
        "not as it should be: 4 pictures missing, 1 picture damaged, 1 jump in time closed up, 3 time stamps replaced, "
        "14 pictures turned, 2 changes of the picture's size"
    )


def test_where_nothing_happened_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert not [line for line in said(summary(), capsys) if "should be" in line or "resized" in line]


@pytest.mark.parametrize("kind", get_args(Incident))
@pytest.mark.parametrize("count", [1, 7])
def test_every_kind_has_its_words(capsys: pytest.CaptureFixture[str], kind: str, count: int) -> None:
    of = summary()
    of.incidents = {kind: count}
    (line,) = (line for line in said(of, capsys) if line.startswith("not as it should be: "))
    _, _, words = line.partition(f": {count} ")
    assert words
    assert words != kind, "the summary has no words for it"


def test_frames_that_were_resized_for_the_networks_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    of = summary()
    of.network_size = (48, 64)
    for size in ((48, 64), (96, 128), (48, 64), (64, 48)):
        labels = np.zeros(size, np.uint8)
        speed = Speed({}, "CPUExecutionProvider", True)
        of.add(Result(labels, 0, 0, Fraction(1, 25), True, "first", 0, None, speed, Picture()), output_ms=0)
    assert "2 frames resized to 48x64 for the networks" in said(of, capsys)
    assert (of.as_dict()["network_size"], of.as_dict()["resized"]) == ((48, 64), 2)


def test_a_run_with_a_bundle_of_another_size(
    arseg: Command, tiny_fixed_bundle: Path, tiny_bundle: Path, clip: Path, tmp_path: Path
) -> None:
    done = arseg("run", clip, "-m", tiny_fixed_bundle, "--resize", "--frames", tmp_path / "frames.jsonl")
    assert f"{FRAMES} frames resized to 64x96 for the networks" in done.out
    facts = arseg("run", clip, "-m", tiny_bundle, "--frames", tmp_path / "frames.jsonl", "--json").json
    assert (facts["network_size"], facts["resized"]) == (None, 0)


def test_a_run_over_pictures_that_are_not_as_they_should_be(arseg: Command, tiny_bundle: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, size in enumerate([(64, 96), (64, 96), (96, 64), (96, 64)]):
        cv2.imwrite(str(pictures / f"{number}.png"), np.full((*size, 3), 90, np.uint8))
    (pictures / "1.png").write_bytes(b"no picture")
    done = arseg("run", pictures, "-m", tiny_bundle, "--frames", tmp_path / "frames.jsonl")
    assert done.code == 0
    (line,) = (line for line in done.out.splitlines() if line.startswith("not as it should be: "))
    assert line.startswith("not as it should be: 1 file skipped")
    assert "1 change of the picture's size" in line
