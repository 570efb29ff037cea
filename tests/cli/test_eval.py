"""``eval``, to read, as JSON and as a picture."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import Command
from labelled_street import write_camvid_street, write_png

from arseg_edge.demo import demo_bundle

BUNDLE = demo_bundle()
FAST = ("--interval", "4", "--shifts", "2", "--threads", "1")
FRAMES = 13


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first frames of the street as a data set."""
    return write_camvid_street(tmp_path_factory.mktemp("eval") / "camvid", FRAMES)


def test_eval(arseg: Command, street: Path) -> None:
    # Of no model that is named: the demo model.
    done = arseg("eval", street, *FAST, "--zero-motion", "--bitrate", "3000000", "--frame-rate", "24")
    assert done.code == 0
    head, by_distance, by_class, schedules, consistency = done.out.strip().split("\n\n")
    assert head == (
        "demo.arseg (LR 0.5) on CamVid val: 1 sequences, interval 4, 2 alignments; libx264, 3 Mbit/s at 24 frames/s"
    )
    table, _, *rows = by_distance.splitlines()
    assert table.endswith("  AR, zero motion")
    scores = {row[:20].strip(): [float(cell) for cell in row[20:].split()] for row in rows}
    means = ["mean 0 to 3", "mean 1 to 3", "all frames at once", "temporal consistency"]
    assert list(scores) == [*"0123", *means]
    assert {len(each) for each in scores.values()} == {4}
    columns = np.array([scores[distance] for distance in "0123"])
    np.testing.assert_allclose(scores["mean 0 to 3"], columns.mean(0), atol=0.01)
    np.testing.assert_allclose(scores["mean 1 to 3"], columns[1:].mean(0), atol=0.01)
    assert min(scores["mean 0 to 3"]) > 40
    assert "cyclist" in by_class
    header, _, *lines, note = schedules.splitlines()
    assert header.split() == ["schedule", "mIoU", "frames:", "HR", "LR", "moved", "arithmetic", "consistency"]
    assert lines[0].split()[4:6] == [f"{scores['all frames at once'][0]:.2f}", "100.0"]
    assert [line[:34].strip() for line in lines[2:]] == [
        "AR (paper)",
        *(f"HR every {k}, moved from {sides}" for sides in ("one side", "both sides") for k in (2, 3, 4)),
        "adaptive, live, LR every 3",
        "adaptive, live",
        "adaptive, file",
    ]
    assert note.startswith("arithmetic: ")
    assert consistency.startswith("temporal consistency of the truth itself: 9")
    # No bar where there is no terminal.
    assert done.err.splitlines()[-1] == "[2/2] done"
    assert "\r" not in done.err


def test_networks_that_see_another_size(arseg: Command, street: Path) -> None:
    own, small = (
        arseg("eval", street, "-m", BUNDLE, *FAST, "--json", *more).json for more in ((), ("--size", "180x240"))
    )
    ratio = small["methods"]["hr"]["miou_mean"] / own["methods"]["hr"]["miou_mean"]
    assert 0.5 < ratio < 0.97


def test_eval_as_json(arseg: Command, street: Path) -> None:
    facts = arseg("eval", street, "-m", BUNDLE, *FAST, "--json").json
    assert (facts["model"], facts["dataset"], facts["sequences"], facts["interval"]) == (
        "demo.arseg", "CamVid val", 1, 4,
    )  # fmt: skip
    assert (facts["codec"], facts["bit_rate"], facts["frame_rates"]) == ("libx264", 1_500_000, [30.0])
    assert set(facts["methods"]) == {"hr", "lr", "ar"}
    for scores in facts["methods"].values():
        assert len(scores["miou_by_distance"]) == 4
        assert scores["miou_mean"] == pytest.approx(np.mean(scores["miou_by_distance"]), abs=0.002)
        assert len(scores["iou_by_class"]) == 11
    schedules = {each["name"]: each for each in facts["schedules"]}
    assert list(schedules)[:3] == ["hr", "lr", "ar"]
    for name in ("hr", "lr", "ar"):
        assert schedules[name]["miou"] == facts["methods"][name]["miou_together"]
        assert schedules[name]["consistency"] == facts["methods"][name]["consistency"]
    for each in schedules.values():
        assert set(each) == {"name", "miou", "frames", "arithmetic", "consistency"}
        assert sum(each["frames"].values()) == pytest.approx(1, abs=1e-3)
    # 13 frames from one alignment, 11 from the other.
    assert schedules["hr-every-3-one-side"]["frames"] == {"hr": round((5 + 4) / 24, 4), "lr": 0, "moved": 0.625}
    assert schedules["hr-every-3-one-side"]["arithmetic"] == 0.375
    # An interval that is asked for is the adaptive schedule's, too; its own defaults are shorter than the bundle's.
    assert schedules["adaptive-live"]["frames"]["hr"] < 0.5
    live = schedules["adaptive-live-lr"]
    assert live["frames"]["hr"] < live["arithmetic"] < live["frames"]["hr"] + live["frames"]["lr"]


def test_classes_without_a_pixel_are_named(arseg: Command, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    for name, picture in (("clips", np.zeros((96, 128, 3), np.uint8)), ("labels", np.zeros((96, 128), np.uint8))):
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / "a.png"), picture)
    (folder / "dataset.yaml").write_text("classes: [sky, road, car]\n")
    arguments = ("eval", folder, "-m", BUNDLE, "--interval", "4", "--shifts", "1", "--threads", "1")
    assert "left out of the means, as no labelled pixel is of them: road, car" in arseg(*arguments).out.splitlines()
    assert arseg(*arguments, "--json").json["absent_classes"] == ["road", "car"]
    cv2.imwrite(str(folder / "labels" / "a.png"), np.full((96, 128), 255, np.uint8))
    done = arseg(*arguments)
    assert (done.code, done.out) == (5, "")
    assert "no pixel is 'sky', 'road' or 'car', while 100.0 % have the value 255" in done.err


def test_distances_that_are_not_met_are_null(arseg: Command, tmp_path: Path) -> None:
    # A still, and one alignment: one distance.
    folder = write_camvid_street(tmp_path / "still", 1)
    done = arseg("eval", folder, "-m", BUNDLE, "--interval", "4", "--shifts", "1", "--threads", "1", "--json")
    assert [score is None for score in done.json["methods"]["ar"]["miou_by_distance"]] == [True, True, True, False]
    assert done.json["truth_consistency"] is None


def test_a_threshold_that_is_not_met(arseg: Command, street: Path) -> None:
    good = arseg("eval", street, "-m", BUNDLE, *FAST, "--min-miou", "40")
    assert good.code == 0
    bad = arseg("eval", street, "-m", BUNDLE, *FAST, "--min-miou", "99.5")
    assert bad.code == 6
    # The report comes all the same.
    assert bad.out.splitlines()[0] == good.out.splitlines()[0]
    assert len(bad.out.splitlines()) == len(good.out.splitlines())
    assert bad.err.splitlines()[-1].startswith("error: AR has ")
    assert "below the 99.5 of --min-miou" in bad.err


def test_plot(arseg: Command, street: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: [train] brings it")
    target = tmp_path / "curves.png"
    assert arseg("eval", street, "-m", BUNDLE, *FAST, "--plot", target).code == 0
    assert cv2.imread(str(target)).shape[0] > 300


def test_no_plot_is_known_at_once(arseg: Command, street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    done = arseg("eval", street, "-m", BUNDLE, "--plot", "curves.png")
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("error: --plot needs matplotlib")


def test_checkpoints_need_pytorch(arseg: Command, street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    done = arseg("eval", street, "--checkpoint-hr", "hr.pth", "--checkpoint-lr", "lr.pth")
    assert done.code == 3
    (line,) = done.err.splitlines()
    assert "arseg-edge[cpu,export]" in line


@pytest.mark.parametrize(
    ("code", "said", "arguments"),
    [
        (2, "name either --model, or", ["-m", BUNDLE, "--checkpoint-hr", "hr.pth"]),
        (2, "name either --model, or", ["--checkpoint-hr", "hr.pth"]),
        (2, "5 shifts at an interval of 4", ["-m", BUNDLE, "--interval", "4", "--shifts", "5"]),
        (3, "none.arseg", ["-m", "none.arseg"]),
        (3, "no LR branch for scale 0.7", ["-m", BUNDLE, "--scale", "0.7"]),
        (5, "13 frames are fewer than the interval of 20", ["-m", BUNDLE, "--interval", "20"]),
        (5, "no split 'night'", ["-m", BUNDLE, "--split", "night"]),
        (5, "no video encoder 'h999'", ["-m", BUNDLE, "--codec", "h999"]),
        (1, "no directory", ["-m", BUNDLE, "--plot", "none/curves.png"]),
    ],
)
def test_what_makes_no_sense(arseg: Command, street: Path, code: int, said: str, arguments: list[str | Path]) -> None:
    done = arseg("eval", street, *arguments)
    assert (done.code, done.out) == (code, "")
    (line,) = done.err.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_a_frame_rate_that_divides_by_zero(arseg: Command, street: Path) -> None:
    done = arseg("eval", street, "-m", BUNDLE, "--frame-rate", "30/0")
    assert done.code == 2
    assert "30/0" in done.err


def test_a_model_of_other_classes(arseg: Command, street: Path, tiny_bundle: Path) -> None:
    done = arseg("eval", street, "-m", tiny_bundle)
    assert done.code == 5
    assert "class 'building' is none of tiny.arseg's (sky, road, car)" in done.err


def test_a_label_outside_the_class_list(arseg: Command, tmp_path: Path) -> None:
    folder = write_camvid_street(tmp_path / "camvid", 1)
    label = folder / "valannot" / "0016E5_00001.png"
    write_png(label, np.full((360, 480), 77, np.uint8))
    done = arseg("eval", folder, "-m", BUNDLE, *FAST)
    assert done.code == 5
    assert str(label) in done.err
    assert "77" in done.err
