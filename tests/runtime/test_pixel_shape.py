"""Pixels that are not square: in frames, results, probe and overlay, upright and turned."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest
from streams import encode, panning
from test_source_rotation import turned

import arseg_edge
from arseg_edge.runtime.read_motion import read_motion
from arseg_edge.runtime.reports.probe import probe
from arseg_edge.runtime.source.open_source import open_source

PAL = Fraction(64, 45)


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shape") / "v.mp4"
    return encode(path, panning(4, 64, 96, 2, 0), sample_aspect_ratio=PAL)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_carry_the_shape_of_their_pixels(tmp_path: Path, codec: str, suffix: str) -> None:
    path = encode(tmp_path / f"v.{suffix}", panning(4, 64, 96, 2, 0), codec, sample_aspect_ratio=PAL)
    with open_source(path) as source:
        assert [frame.sample_aspect_ratio for frame in source.frames()] == [PAL] * 4
    assert {frame.sample_aspect_ratio for frame in read_motion(path)} == {PAL}
    assert probe(path).sample_aspect_ratio == "64:45"


def test_where_nothing_is_said(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", panning(4, 64, 96, 2, 0))
    with open_source(path) as source:
        assert {frame.sample_aspect_ratio or 1 for frame in source.frames()} == {1}
    with open_source(panning(2, 64, 96, 2, 0)) as source:
        assert {frame.sample_aspect_ratio for frame in source.frames()} == {None}


def test_a_stream_that_changes_its_own(tmp_path: Path) -> None:
    parts = [
        encode(tmp_path / f"{shape.numerator}.h264", panning(3, 64, 96, 2, 0), sample_aspect_ratio=shape)
        for shape in (PAL, Fraction(4, 3))
    ]
    (tmp_path / "joined.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_source(tmp_path / "joined.h264") as source:
        assert [frame.sample_aspect_ratio for frame in source.frames()] == [PAL] * 3 + [Fraction(4, 3)] * 3


@pytest.mark.parametrize(("degrees", "shape"), [(0, PAL), (90, 1 / PAL), (180, PAL), (270, 1 / PAL)])
def test_results_and_overlay(tmp_path: Path, upright: Path, tiny_bundle: Path, degrees: int, shape: Fraction) -> None:
    path = turned(upright, tmp_path / "t.mp4", degrees, mirrored=False)
    with arseg_edge.load(tiny_bundle) as segmenter:
        assert {result.sample_aspect_ratio for result in segmenter.stream(path)} == {shape}
    command = [sys.executable, "-m", "arseg_edge", "run", path, "-m", tiny_bundle, "-o", tmp_path / "o.mp4"]
    subprocess.run([*map(str, command), "--frames", str(tmp_path / "f.jsonl")], check=True, capture_output=True)
    with av.open(str(tmp_path / "o.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == shape
        assert (stream.height, stream.width) == ((64, 96) if degrees % 180 == 0 else (96, 64))
    for line in (tmp_path / "f.jsonl").read_text().splitlines():
        assert json.loads(line)["sample_aspect_ratio"] == f"{shape.numerator}:{shape.denominator}"
