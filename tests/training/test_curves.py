"""The curves of a run."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from arseg_edge.errors import OutputError
from arseg_edge.training.curves import as_csv, write_curves
from arseg_edge.training.state import Row

ROWS = (
    Row(1, 10, 0.1, {"segmentation": 0.75}, "miou", None, 3.5),
    Row(2, 20, 0.1 + 0.2, {"segmentation": 0.5, "similarity": 2.0}, "miou", 41.25, 7.0),
)


def test_a_line_an_epoch_and_no_times() -> None:
    assert as_csv(ROWS) == (
        "epoch,step,learning_rate,segmentation,similarity,miou\n"
        "1,10,0.1,0.75,,\n"
        "2,20,0.30000000000000004,0.5,2.0,41.25\n"
    )


def test_picture_shows_both(tmp_path: Path) -> None:
    write_curves(ROWS[:1], tmp_path)
    before = cv2.imread(str(tmp_path / "curves.png"))
    write_curves(ROWS, tmp_path)
    after = cv2.imread(str(tmp_path / "curves.png"))
    assert before is not None
    assert after is not None
    assert before.shape == after.shape == (400, 1000, 3)
    half = after.shape[1] // 2
    for side in (np.s_[:, :half], np.s_[:, half:]):
        assert (before[side] != after[side]).any(axis=-1).mean() > 0.001
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.csv", "curves.png"]


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"curves\.csv: cannot be written"):
        write_curves(ROWS, tmp_path / "file")
