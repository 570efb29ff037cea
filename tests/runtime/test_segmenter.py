"""The segmenter on frames that a caller decodes, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from streams import panning

import arseg_edge
from arseg_edge.errors import BundleError, FrameError, SequenceError, SizeError, UsageError
from arseg_edge.runtime import Segmenter

HEIGHT, WIDTH = 64, 96
STILL = np.zeros((HEIGHT, WIDTH, 2), np.float32)

Image = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def pictures() -> list[Image]:
    return panning(6, HEIGHT, WIDTH, 3, 1)


@pytest.fixture
def segmenter(tiny_bundle: Path) -> Iterator[Segmenter]:
    with arseg_edge.load(tiny_bundle, threads=1) as opened:
        yield opened


def moving(dx: float, dy: float) -> npt.NDArray[np.float32]:
    """The same motion everywhere."""
    return STILL + np.float32([dx, dy])


# Steps


def test_a_keyframe_and_the_frames_after_it(segmenter: Segmenter, pictures: list[Image]) -> None:
    results = [segmenter.step(pictures[0], keyframe=True)]
    results += [segmenter.step(each, motion=moving(3 * t, t)) for t, each in enumerate(pictures[1:3], 1)]
    results.append(segmenter.step(pictures[3]))
    assert [r.index for r in results] == [0, 1, 2, 3]
    assert [r.is_keyframe for r in results] == [True, False, False, True]
    assert [r.keyframe_reason for r in results] == ["requested", None, None, "no-motion"]
    assert [r.distance for r in results] == [0, 1, 2, 0]
    assert [r.motion_source for r in results] == [None, "caller", "caller", None]
    for result, picture in zip(results, pictures, strict=False):
        assert result.labels.dtype == np.uint8
        assert result.labels.shape == (HEIGHT, WIDTH)
        assert result.labels.max() < len(segmenter.classes)
        np.testing.assert_array_equal(result.rgb, picture)
        assert "array" not in repr(result)
        assert set(result.speed.milliseconds) == {"hr" if result.is_keyframe else "lr"}
        assert result.speed.total == sum(result.speed.milliseconds.values()) > 0


def test_the_first_frame_is_a_keyframe_by_itself(segmenter: Segmenter, pictures: list[Image]) -> None:
    assert segmenter.step(pictures[0]).keyframe_reason == "first"


def test_labels_stay_as_they_were_given(segmenter: Segmenter, pictures: list[Image]) -> None:
    first = segmenter.step(pictures[0], keyframe=True).labels
    before = first.copy()
    segmenter.step(pictures[5], motion=STILL)
    segmenter.step(pictures[4], keyframe=True)
    np.testing.assert_array_equal(first, before)


def test_the_motion_matters_and_so_does_the_keyframe(segmenter: Segmenter, pictures: list[Image]) -> None:
    segmenter.step(pictures[0], keyframe=True)
    still, moved = (segmenter.step(pictures[1], motion=STILL + by).labels for by in (0, 20))
    segmenter.step(255 - pictures[0], keyframe=True)
    other = segmenter.step(pictures[1], motion=STILL).labels
    assert np.mean(still != moved) > 0.01
    assert np.mean(still != other) > 0.01


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int16])
def test_motion_of_any_kind_of_number(segmenter: Segmenter, pictures: list[Image], kind: type) -> None:
    segmenter.step(pictures[0], keyframe=True)
    expected = segmenter.step(pictures[1], motion=moving(3, 1)).labels
    np.testing.assert_array_equal(segmenter.step(pictures[1], motion=moving(3, 1).astype(kind)).labels, expected)


def test_arrays_need_not_be_contiguous(segmenter: Segmenter, pictures: list[Image]) -> None:
    bgr, flow = np.ascontiguousarray(pictures[0][..., ::-1]), np.moveaxis(np.zeros((2, HEIGHT, WIDTH)), 0, 2)
    expected = segmenter.step(pictures[0], keyframe=True).labels
    np.testing.assert_array_equal(segmenter.step(bgr[..., ::-1], keyframe=True).labels, expected)
    expected = segmenter.step(pictures[0], motion=STILL).labels
    np.testing.assert_array_equal(segmenter.step(bgr[..., ::-1], motion=flow).labels, expected)


@pytest.mark.parametrize("native", ["1", "0"])
def test_motion_far_beyond_the_picture_finds_nothing_there(
    tiny_bundle: Path, pictures: list[Image], native: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARSEG_EDGE_NATIVE", native)
    with arseg_edge.load(tiny_bundle, threads=1) as segmenter:
        segmenter.step(pictures[0], keyframe=True)
        expected = segmenter.step(pictures[1], motion=STILL + 10 * WIDTH).labels
        for far in (1e6, 3e9, 1e30):
            np.testing.assert_array_equal(segmenter.step(pictures[1], motion=STILL + far).labels, expected)


# What is refused


@pytest.mark.parametrize(
    ("rgb", "found"),
    [
        (np.zeros((HEIGHT, WIDTH, 3), np.float32), "float32 [64, 96, 3]"),
        (np.zeros((HEIGHT, WIDTH), np.uint8), "uint8 [64, 96]"),
        (np.zeros((HEIGHT, WIDTH, 4), np.uint8), "uint8 [64, 96, 4]"),
        (np.zeros((1, HEIGHT, WIDTH, 3), np.uint8), "uint8 [1, 64, 96, 3]"),
        (np.zeros((0, WIDTH, 3), np.uint8), "uint8 [0, 96, 3]"),
        ([[[0, 0, 0]]], "list"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_frame(segmenter: Segmenter, rgb: Any, found: str) -> None:
    with pytest.raises(FrameError) as raised:
        segmenter.step(rgb, keyframe=True)
    assert found in str(raised.value)
    assert isinstance(raised.value, (TypeError, ValueError))


@pytest.mark.parametrize(
    ("motion", "found"),
    [
        (STILL[:-1], "[63, 96, 2]"),
        (STILL.transpose(2, 0, 1), "[2, 64, 96]"),
        (STILL[None], "[1, 64, 96, 2]"),
        (STILL.astype(bool), "bool"),
        (STILL.astype(complex), "complex128"),
        (STILL.tolist(), "list"),
        (STILL + np.nan, "NaN"),
        (STILL - np.inf, "infinite"),
        (np.full_like(STILL, 1e300, np.float64), "infinite"),
    ],
)
def test_what_is_no_motion(segmenter: Segmenter, pictures: list[Image], motion: Any, found: str) -> None:
    segmenter.step(pictures[0], keyframe=True)
    with pytest.raises(FrameError) as raised:
        segmenter.step(pictures[1], motion=motion)
    assert found in str(raised.value)
    assert segmenter.step(pictures[1], motion=STILL).index == 1  # a refused frame does not count


def test_a_single_bad_number_is_counted(segmenter: Segmenter, pictures: list[Image]) -> None:
    segmenter.step(pictures[0], keyframe=True)
    motion = STILL.copy()
    motion[5, 7, 1] = np.nan
    with pytest.raises(FrameError, match="1 values"):
        segmenter.step(pictures[1], motion=motion)


def test_both_a_keyframe_and_motion(segmenter: Segmenter, pictures: list[Image]) -> None:
    segmenter.step(pictures[0])
    with pytest.raises(UsageError, match="leave one out"):
        segmenter.step(pictures[1], keyframe=True, motion=STILL)


def test_motion_needs_a_keyframe(segmenter: Segmenter, pictures: list[Image]) -> None:
    with pytest.raises(SequenceError, match="before any keyframe"):
        segmenter.step(pictures[0], motion=STILL)
    segmenter.step(pictures[0], keyframe=True)
    segmenter.step(pictures[1], motion=STILL)
    segmenter.reset()
    with pytest.raises(SequenceError, match="before any keyframe"):
        segmenter.step(pictures[1], motion=STILL)
    again = segmenter.step(pictures[2])
    assert (again.index, again.keyframe_reason) == (0, "first")


def test_motion_needs_a_keyframe_of_ones_own(segmenter: Segmenter, pictures: list[Image]) -> None:
    assert len(list(segmenter.stream(pictures))) == len(pictures)
    with pytest.raises(SequenceError, match="before any keyframe"):
        segmenter.step(pictures[0], motion=STILL)


def test_motion_across_a_change_of_size(segmenter: Segmenter, pictures: list[Image]) -> None:
    segmenter.step(pictures[0], keyframe=True)
    with pytest.raises(FrameError, match="48x96 but the last keyframe was 64x96"):
        segmenter.step(pictures[1][:48], motion=STILL[:48])
    assert segmenter.step(pictures[1][:48], keyframe=True).labels.shape == (48, WIDTH)


def test_nothing_goes_after_close(tiny_bundle: Path, pictures: list[Image]) -> None:
    with arseg_edge.load(tiny_bundle) as segmenter:
        segmenter.step(pictures[0])
    segmenter.close()
    for use in (
        lambda: segmenter.step(pictures[0]),
        lambda: segmenter.step(pictures[0], motion=STILL),
        lambda: segmenter.stream(pictures),
        segmenter.reset,
    ):
        with pytest.raises(SequenceError, match="closed"):
            use()


# Sizes


@pytest.mark.parametrize("size", [(1, 1), (31, 96), (96, 31), (32, 8193)])
def test_sizes_outside_what_the_bundle_takes(segmenter: Segmenter, size: tuple[int, int]) -> None:
    with pytest.raises(SizeError, match="{}x{}.*32x32 to 8192x8192".format(*size)):
        segmenter.step(np.zeros((*size, 3), np.uint8), keyframe=True)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (101, 64)])
def test_odd_sizes_within(segmenter: Segmenter, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert segmenter.step(picture, keyframe=True).labels.shape == size
    assert segmenter.step(picture, motion=np.zeros((*size, 2))).labels.shape == size


def test_a_bundle_of_one_size(tiny_fixed_bundle: Path, pictures: list[Image]) -> None:
    with arseg_edge.load(tiny_fixed_bundle) as segmenter:
        assert segmenter.step(pictures[0]).labels.shape == (HEIGHT, WIDTH)
        with pytest.raises(SizeError, match=r"48x96.*64x96.*resize"):
            segmenter.step(pictures[0][:48])
        with pytest.raises(SizeError, match="48x96"):
            list(segmenter.stream([pictures[0][:48]]))


# Threads and options


def test_a_segmenter_for_each_thread(tiny_bundle: Path, pictures: list[Image]) -> None:
    def segment(out: list[Image]) -> None:
        with arseg_edge.load(tiny_bundle, threads=1) as segmenter:
            out.append(segmenter.step(pictures[0], keyframe=True).labels)
            out += [segmenter.step(each, motion=moving(3, 1)).labels for each in pictures[1:] * 5]

    alone: list[Image] = []
    segment(alone)
    together: list[list[Image]] = [[], []]
    threads = [threading.Thread(target=segment, args=(out,)) for out in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for out in together:
        np.testing.assert_array_equal(out, alone)


def test_what_load_says_of_itself(tiny_bundle: Path) -> None:
    with arseg_edge.load(tiny_bundle, interval=5, scale=0.3) as segmenter:
        assert segmenter.interval == 5
        assert segmenter.provider.endswith("ExecutionProvider")
        assert [each.name for each in segmenter.classes] == ["sky", "road", "car"]
        assert repr(segmenter).startswith("Segmenter(Bundle(tiny.arseg, tiny, size=dynamic, LR 0.5/0.3), interval=5")


def test_the_scale_is_the_one_that_was_asked_for(tiny_bundle: Path, pictures: list[Image]) -> None:
    labels = {}
    for scale in (None, 0.5, 0.3):
        with arseg_edge.load(tiny_bundle, scale=scale, threads=1) as segmenter:
            segmenter.step(pictures[0])
            labels[scale] = segmenter.step(pictures[1], motion=STILL).labels
    np.testing.assert_array_equal(labels[None], labels[0.5])
    assert np.mean(labels[0.3] != labels[0.5]) > 0.001


def test_guards(tiny_bundle: Path) -> None:
    pictures = [panning(1, HEIGHT, WIDTH, 0, 0, seed)[0] for seed in range(6)]

    def keyframes(guards: arseg_edge.Guards | None) -> list[bool]:
        with arseg_edge.load(tiny_bundle, threads=1, schedule="paper", guards=guards) as segmenter:
            return [result.is_keyframe for result in segmenter.stream(pictures)]

    assert keyframes(arseg_edge.Guards()) == [True] * 6
    assert keyframes(arseg_edge.Guards(mismatch=1, cut=1)) == keyframes(None) == [True, *[False] * 5]
    with pytest.raises(UsageError, match="the adaptive schedule has none"):
        arseg_edge.load(tiny_bundle, schedule="adaptive", guards=None)


@pytest.mark.parametrize(
    "arguments",
    [
        {"threads": 0},
        {"threads": True},
        {"threads": 1.5},
        {"interval": 0},
        {"interval": "12"},
        {"providers": 5},
        {"guards": 0.4},
    ],
)
def test_arguments_that_make_no_sense(tiny_bundle: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=str(next(iter(arguments.values())))):
        arseg_edge.load(tiny_bundle, **arguments)


def test_a_scale_that_the_bundle_does_not_have(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"0\.7: this bundle has 0\.5, 0\.3"):
        arseg_edge.load(tiny_bundle, scale=0.7)


@pytest.mark.parametrize(("content", "said"), [(None, "no such file"), (b"no zip", "not a bundle")])
def test_files_that_are_no_bundle(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "street.arseg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=said) as raised:
        arseg_edge.load(path)
    assert str(path) in str(raised.value)


# Labels that are moved along


def test_moved_labels_are_the_keyframes_where_the_motion_leads(segmenter: Segmenter, pictures: list[Image]) -> None:
    height, width = pictures[0].shape[:2]
    keyframe = segmenter.step(pictures[0], keyframe=True)
    expected = keyframe.labels.copy()
    keyframe.labels[:] = 0  # the caller's own
    motion = np.tile(np.array([5.0, -3.0], np.float32), (height, width, 1))
    moved = segmenter.step(pictures[1], motion=motion, branch="moved")
    rows, columns = np.clip(np.arange(height) - 3, 0, height - 1), np.clip(np.arange(width) + 5, 0, width - 1)
    np.testing.assert_array_equal(moved.labels, expected[rows][:, columns])
    assert (moved.branch, moved.is_keyframe, moved.age, moved.distance) == ("moved", False, 1, 1)
    assert list(moved.speed.milliseconds) == ["moved"]
    after = segmenter.step(pictures[2], motion=np.zeros_like(motion), branch="lr")
    assert (after.branch, after.age, after.distance) == ("lr", 0, 2)


def test_a_branch_that_does_not_go_with_the_rest(segmenter: Segmenter, pictures: list[Image]) -> None:
    motion = np.zeros((*pictures[0].shape[:2], 2), np.float32)
    with pytest.raises(SequenceError, match="before any keyframe"):
        segmenter.step(pictures[0], motion=motion, branch="moved")
    segmenter.step(pictures[0], branch="hr")
    for arguments, message in (
        ({"branch": "moved"}, "without motion"),
        ({"branch": "lr"}, "without motion"),
        ({"branch": "hr", "motion": motion}, "leave one out"),
        ({"branch": "lr", "keyframe": True}, "leave one out"),
        ({"branch": "fast", "motion": motion}, "must be hr, lr or moved"),
    ):
        with pytest.raises(UsageError, match=message):
            segmenter.step(pictures[0], **arguments)
