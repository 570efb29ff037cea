"""The adaptive schedule at work: real bitstreams, real networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from clips import street_clip
from streams import encode, panning

import arseg_edge
from arseg_edge.errors import SourceError, UsageError
from arseg_edge.results import Result
from arseg_edge.runtime.source.open_source import Source, SourceLike, open_source

FRAMES, INTERVAL = 40, 6


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return street_clip(tmp_path_factory.mktemp("adaptive") / "street.mp4", FRAMES)


def segment(source: SourceLike, bundle: Path | None = None, **settings: object) -> list[Result]:
    with arseg_edge.load(bundle, threads=2, interval=INTERVAL, **settings) as segmenter:  # type: ignore[arg-type]
        return list(segmenter.stream(source))


@pytest.fixture(scope="module")
def every_frame(clip: Path) -> list[Result]:
    """The HR network of the demo model on every frame."""
    with arseg_edge.load(threads=2, interval=1, schedule="paper") as segmenter:
        return list(segmenter.stream(clip))


def agreement(results: list[Result], others: list[Result]) -> float:
    return float(np.mean([(a.labels == b.labels).mean() for a, b in zip(results, others, strict=True)]))


def test_a_file_draws_on_both_sides(clip: Path, every_frame: list[Result]) -> None:
    results = segment(clip)
    assert [each.index for each in results] == list(range(FRAMES))
    assert [each.pts for each in results] == [each.pts for each in every_frame]
    branches = [each.branch for each in results]
    assert set(branches) == {"hr", "moved"}
    assert branches.count("hr") <= FRAMES / 4
    anchors = np.flatnonzero([branch == "hr" for branch in branches])
    for each in results:
        assert each.is_keyframe == (each.branch == "hr") == (each.keyframe_reason is not None)
        if each.index <= anchors[-1]:
            assert each.age == np.abs(anchors - each.index).min()
        if each.is_keyframe:
            np.testing.assert_array_equal(each.labels, every_frame[each.index].labels)
    one_side = segment(clip, lookahead=False)
    assert agreement(results, every_frame) > agreement(one_side, every_frame) > 0.9


def test_without_lookahead_anchors_come_twice_as_often(clip: Path) -> None:
    with arseg_edge.load(threads=2, lookahead=False) as segmenter:
        results = list(segmenter.stream(clip))
    assert {each.branch for each in results} == {"hr", "moved"}
    assert max(each.distance for each in results) == 5
    assert all(each.age == each.distance for each in results)


def test_without_lookahead_lr_can_look_between(clip: Path) -> None:
    results = segment(clip, lookahead=False, lr_every=3)
    branches = [each.branch for each in results]
    assert {"hr", "lr", "moved"} == set(branches)
    network = max(index for index in range(FRAMES) if branches[index] != "moved")
    since = 0
    for each in results[:network]:
        since = since + 1 if each.branch == "moved" else 0
        assert each.age == since


def test_the_same_file_gives_the_same_branches(clip: Path) -> None:
    first, second = (segment(clip) for _ in range(2))
    assert [each.branch for each in first] == [each.branch for each in second]
    assert agreement(first, second) == 1


@pytest.mark.parametrize("settings", [{}, {"lookahead": False, "lr_every": 3}])
def test_labels_can_be_drawn_on(clip: Path, settings: dict[str, object]) -> None:
    expected = segment(clip, **settings)
    with arseg_edge.load(threads=2, interval=INTERVAL, **settings) as segmenter:  # type: ignore[arg-type]
        for result, other in zip(segmenter.stream(clip), expected, strict=True):
            np.testing.assert_array_equal(result.labels, other.labels)
            result.labels[:] = 0


def test_frames_as_they_come_are_not_waited_for(tiny_bundle: Path) -> None:
    given: list[int] = []

    def camera() -> Iterator[npt.NDArray[np.uint8]]:
        for index, picture in enumerate(panning(8, 64, 96, 2, 0)):
            given.append(index)
            yield picture

    with arseg_edge.load(tiny_bundle, threads=1) as segmenter:
        for result in segmenter.stream(camera()):
            assert given[-1] == result.index


def test_a_tighter_tolerance_lets_networks_see_more(clip: Path) -> None:
    shares = [sum(each.branch == "hr" for each in segment(clip, tolerance=each)) for each in (1.0, 0.02, 0.0)]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_a_cut_is_never_drawn_over(tmp_path: Path, tiny_bundle: Path) -> None:
    scenes = [*panning(9, 96, 128, 2, 0, seed=1), *panning(9, 96, 128, -2, 0, seed=2)]
    path = encode(tmp_path / "cut.mp4", scenes, gop=250, options={"sc_threshold": "0"})
    results = segment(path, tiny_bundle)
    assert results[9].branch == "hr"
    assert all(each.age <= each.index - 9 for each in results[9:])
    assert all(each.age <= each.index for each in results[:9])


def test_frames_before_a_failure_are_not_lost(tmp_path: Path, tiny_bundle: Path) -> None:
    for index, picture in enumerate(panning(4, 64, 96, 2, 0)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), picture)
    (tmp_path / "4.png").write_bytes(b"not a picture")
    found = []

    def take(source: Source) -> None:
        with arseg_edge.load(tiny_bundle, threads=1) as segmenter:
            for result in segmenter.stream(source):
                found.append(result.index)

    with open_source(tmp_path, strict=True) as source, pytest.raises(SourceError, match="not an image"):
        take(source)
    assert found == [0, 1, 2, 3]


def test_a_bundle_without_logits(clip: Path) -> None:
    old = Path(__file__).parent.parent / "data" / "tiny-format1.arseg"
    results = segment(clip, old)
    assert {each.branch for each in results} == {"hr", "moved"}
    assert all(each.labels.shape == (360, 480) for each in results)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "fast"}, "schedule 'fast': must be one of adaptive, paper"),
        ({"tolerance": 2}, "tolerance 2: must be a share of the picture"),
        ({"lr_every": 0}, "lr_every 0: must be a whole number of frames"),
    ],
)
def test_settings_that_make_no_sense(tiny_bundle: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        arseg_edge.load(tiny_bundle, **settings)  # type: ignore[arg-type]
