"""How sure labels are, as sinks write it: grey PNGs below the label maps, and the mean in JSON lines."""

from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from arseg_edge.errors import OutputError
from arseg_edge.runtime.sinks import JsonLinesSink, LabelMapSink, ResultLike, frame_record

PALETTE = [[128, 128, 128], [128, 0, 0], [0, 0, 192]]


@dataclass(frozen=True)
class Speed:
    """No times."""

    milliseconds: dict[str, float]


@dataclass(frozen=True)
class Named:
    """What these sinks read of a result."""

    labels: NDArray[np.uint8]
    confidence: NDArray[np.uint8] | None
    source_name: str | None = None
    index: int = 0
    pts: int = 0
    time: float = 0.0
    stream_pts: None = None
    stream_time: None = None
    sample_aspect_ratio: None = None
    branch: str = "hr"
    age: int = 0
    is_keyframe: bool = True
    keyframe_reason: str | None = "first"
    distance: int = 0
    motion_source: None = None
    dropped: int = 0
    latency: None = None
    speed: Speed = Speed({})


def result(
    name: str | None = None, *, index: int = 0, size: tuple[int, int] = (7, 13), confidence: bool = True
) -> ResultLike:
    random = np.random.default_rng(index)
    labels = random.integers(0, 3, size, np.uint8)
    sure = random.integers(0, 256, size, np.uint8) if confidence else None
    return cast("ResultLike", Named(labels, sure, name, index))


def png(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.uint8)


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [(7, 13), (1, 1), (48, 64)])
def test_grey_pngs_of_the_same_names(tmp_path: Path, size: tuple[int, int]) -> None:
    results = [result(index=index, size=size) for index in range(3)]
    with LabelMapSink(tmp_path / "maps", PALETTE) as sink:
        for each in results:
            sink.append(each)
    names = [f"{index:06d}.png" for index in range(3)]
    assert files_of(tmp_path / "maps") == [*names, *(f"confidence/{name}" for name in names)]
    for each, name in zip(results, names, strict=True):
        grey = png(tmp_path / "maps" / "confidence" / name)
        assert grey.shape == size
        np.testing.assert_array_equal(grey, each.confidence)  # type: ignore[attr-defined]


def test_none_where_nobody_asked(tmp_path: Path) -> None:
    with LabelMapSink(tmp_path / "maps", PALETTE) as sink:
        sink.append(result(confidence=False))
    assert files_of(tmp_path / "maps") == ["000000.png"]


def test_images_of_one_stem_stay_apart(tmp_path: Path) -> None:
    jpg, bmp = result("a/001.jpg", index=0), result("a/001.bmp", index=1)
    with LabelMapSink(tmp_path / "maps", PALETTE) as sink:
        sink.append(jpg)
        sink.append(bmp)
    for each, name in ((jpg, "a/001.jpg.png"), (bmp, "a/001.bmp.png")):
        np.testing.assert_array_equal(png(tmp_path / "maps" / "confidence" / name), each.confidence)  # type: ignore[attr-defined]
    assert len(files_of(tmp_path / "maps")) == 4


def test_images_in_a_folder_of_that_name(tmp_path: Path) -> None:
    refused = pytest.raises(OutputError, match="its folder 'confidence' is for how sure the labels are")
    with refused as raised, LabelMapSink(tmp_path / "maps", PALETTE) as sink:
        sink.append(result("confidence/001.png"))
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
    with LabelMapSink(tmp_path / "maps", PALETTE) as sink:
        sink.append(result("confidence/001.png", confidence=False))
    assert files_of(tmp_path / "maps") == ["confidence/001.png"]


def test_the_mean_is_in_json_lines() -> None:
    each = result()
    record = frame_record(each, ["sky", "road", "car"])
    mean = each.confidence.mean() / 255  # type: ignore[attr-defined]
    assert record["confidence"] == pytest.approx(mean, abs=1e-6)
    assert "confidence" not in frame_record(result(confidence=False), ["sky", "road", "car"])
    stream = io.StringIO()
    with JsonLinesSink(stream, ["sky", "road", "car"]) as sink:
        sink.append(each)
    assert json.loads(stream.getvalue())["confidence"] == record["confidence"]


def test_results_of_ones_own_need_not_have_it() -> None:
    fields = {field.name for field in dataclasses.fields(Named)} - {"confidence"}

    class Plain:
        """A result without it."""

    plain, given = Plain(), result()
    for name in fields:
        setattr(plain, name, getattr(given, name))
    assert "confidence" not in frame_record(cast("ResultLike", plain), ["sky", "road", "car"])
