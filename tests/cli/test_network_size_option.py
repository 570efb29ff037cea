"""``--size``: what the networks see; labels stay at the frames' own size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import Command

import arseg_edge


def test_run(arseg: Command, tiny_bundle: Path, clip: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    assert arseg("run", clip, "-m", tiny_bundle, "--size", "90x120", "--labels", maps, "--threads", "1").code == 0
    first = sorted(maps.iterdir())[0]
    palette = np.array([(70, 130, 180), (128, 64, 128), (0, 0, 142)])
    shown = cv2.cvtColor(cv2.imread(str(first)), cv2.COLOR_BGR2RGB)
    assert shown.shape == (360, 480, 3)
    with arseg_edge.load(tiny_bundle, size=(90, 120), threads=1) as segmenter:
        stream = segmenter.stream(clip)
        np.testing.assert_array_equal(shown, palette[next(stream).labels])
        stream.close()


def test_bench(arseg: Command, tiny_bundle: Path, clip: Path) -> None:
    given = ("bench", clip, "-m", tiny_bundle, "--size", "90x120", "--rounds", "1", "--interval", "3", "--threads", "1")
    facts = arseg(*given, "--json").json
    assert (facts["size"], facts["network_size"]) == ([360, 480], [90, 120])
    assert facts["end_to_end"]["adaptive-file"]["ratio"] > 0
    assert set(facts["moved"]["adaptive-file"]) >= {"decoding", "following", "moving", "ratio"}
    told = arseg(*given, "--frames", "8").out
    assert "on 8 frames of street.mp4, 360x480 seen at 90x120, interval 3" in told
    for way in facts["end_to_end"].values():
        assert way["words"] in told


def test_compare(arseg: Command, tiny_bundle: Path, clip: Path) -> None:
    given = ("compare", clip, "-m", tiny_bundle, "--longest", "3", "--seconds", "0.3", "--threads", "1", "--json")
    small, own = arseg(*given, "--size", "90x120").json, arseg(*given).json
    assert small["frames"] == own["frames"]
    assert small["scales"]["0.5"]["ar"] != own["scales"]["0.5"]["ar"]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("720", 2, "--size '720': write HEIGHTxWIDTH, such as 720x960"),
        ("dynamic", 2, "--size 'dynamic': write HEIGHTxWIDTH"),
        ("-1x5", 2, "--size '-1x5'"),
        ("0x96", 2, "size (0, 96): must be (height, width)"),
        ("16x96", 3, "size 16x96 (height x width) is outside what tiny.arseg takes, 32x32 to 8192x8192"),
    ],
)
def test_sizes_that_are_refused(arseg: Command, tiny_bundle: Path, clip: Path, text: str, code: int, said: str) -> None:
    for command in (("run", clip, "--frames", "-"), ("bench", clip), ("compare", clip)):
        done = arseg(*command, "-m", tiny_bundle, f"--size={text}")
        assert (done.code, said in done.err) == (code, True), (command, done.err)
        assert done.err.count("\n") == 1
