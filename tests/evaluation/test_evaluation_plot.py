"""The picture of an evaluation."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from arseg_edge.datasets.encode import Encoding
from arseg_edge.errors import OutputError, UsageError
from arseg_edge.evaluation.by_distance import EvaluationReport
from arseg_edge.evaluation.plot import check_matplotlib, plot
from arseg_edge.evaluation.scores import Scores
from arseg_edge.palette import ClassSet


def report(hr: int) -> EvaluationReport:
    methods = {name: Scores(3, 2) for name in ("hr", "lr", "ar")}
    for scores in methods.values():
        scores.confusion[:] = [[60, 40], [30, 70]]
    methods["hr"].confusion[0] = [[hr, 100 - hr], [0, 100]]
    classes = ClassSet(("road", "car"), ((0, 0, 0), (1, 1, 1)))
    return EvaluationReport(
        "m.arseg", 0.5, "street", 1, 1, Encoding(), (Fraction(15),), (0,), classes, methods, (), float("nan"), ()
    )


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: [train] brings it")
    check_matplotlib()
    pictures = []
    for hr in (100, 20):
        plot(report(hr), tmp_path / "curves.png")
        pictures.append(cv2.imread(str(tmp_path / "curves.png")))
    assert pictures[0].shape[0] > 300
    # Another figure, another picture.
    assert (pictures[0] != pictures[1]).any()
    with pytest.raises(OutputError, match=r"curves\.what: cannot be written"):
        plot(report(100), tmp_path / "curves.what")


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    with pytest.raises(UsageError, match=r"--plot needs matplotlib.*arseg-edge\[train\]"):
        check_matplotlib()


def test_scores_of_nothing_are_no_numbers() -> None:
    empty = Scores(2, 3)
    assert np.isnan(
        [empty.mean, empty.together, empty.consistency, *empty.by_class, *empty.agreement_by_distance]
    ).all()
