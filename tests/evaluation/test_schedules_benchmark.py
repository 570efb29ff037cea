"""``benchmarks/schedules.py``, from a labelled clip to the table and the picture."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from labelled_street import write_camvid_street

ROOT = Path(__file__).parents[2]


def test_the_table_and_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: [train] brings it")
    clip = write_camvid_street(tmp_path / "camvid", 12)
    options = ("--interval", "4", "--shifts", "1", "--threads", "1", "--time", "--rounds", "1", "--json")
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "schedules.py"), str(clip), "--output", "schedules.png", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert {name for name, row in rows.items() if row["milliseconds"] is None} == {"lr"}
    assert rows["hr"]["miou"] > rows["lr"]["miou"]
    assert rows["adaptive-file"]["arithmetic"] < rows["ar"]["arithmetic"]
    picture = cv2.imread(str(tmp_path / "schedules.png"))
    # Two panels side by side, against arithmetic and against time.
    assert picture.shape[1] > 2 * picture.shape[0]
