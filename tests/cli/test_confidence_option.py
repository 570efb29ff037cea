"""``arseg-edge run --confidence``: how sure labels are, beside them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import FRAMES, Command

import arseg_edge

FORMAT_1 = Path(__file__).parents[1] / "data" / "tiny-format1.arseg"


def test_grey_pngs_and_means(arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    maps, lines = tmp_path / "maps", tmp_path / "frames.jsonl"
    done = arseg("run", clip, "-m", tiny_bundle, "--labels", maps, "--frames", lines, "--confidence")
    assert (done.code, done.err) == (0, "")
    with arseg_edge.load(tiny_bundle, confidence=True) as segmenter:
        results = list(segmenter.stream(clip))
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    names = [f"{index:06d}.png" for index in range(FRAMES)]
    assert sorted(path.name for path in maps.iterdir()) == [*names, "confidence"]
    assert sorted(path.name for path in (maps / "confidence").iterdir()) == names
    for result, record, name in zip(results, records, names, strict=True):
        assert result.confidence is not None
        grey = cv2.imread(str(maps / "confidence" / name), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(grey, result.confidence)
        assert record["confidence"] == pytest.approx(result.confidence.mean() / 255, abs=1e-6)


def test_nobody_asks(arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    done = arseg("run", clip, "-m", tiny_bundle, "--labels", tmp_path / "maps", "--frames", "-")
    assert done.code == 0
    assert not (tmp_path / "maps" / "confidence").exists()
    assert all("confidence" not in json.loads(line) for line in done.out.splitlines())


@pytest.mark.parametrize("others", [[], ["-o", "overlay.mp4"]], ids=["alone", "overlay"])
def test_it_needs_a_place(
    arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    done = arseg("run", clip, "-m", tiny_bundle, "--confidence", *others)
    assert done.code == 2
    assert "--confidence has nowhere to go: give --labels or --frames with it" in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_of_format_1(arseg: Command, clip: Path, tmp_path: Path) -> None:
    done = arseg("run", clip, "-m", FORMAT_1, "--labels", tmp_path / "maps", "--confidence")
    assert done.code == 3
    assert done.err.count("\n") == 1
    assert "tiny-format1.arseg: a bundle of format 1 does not give the confidence: renew it by" in done.err
    assert list(tmp_path.iterdir()) == []
