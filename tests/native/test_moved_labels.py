"""Moved labels: the kernel against its twin in NumPy, and both against what must come out."""

from __future__ import annotations

import ctypes

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from operator_session import require_library

from arseg_edge.runtime.labels import moved, uniform
from arseg_edge.runtime.labels.moved import LogitsPlace, Moved, logits_place, moved_labels
from arseg_edge.runtime.labels.seen import Seen
from arseg_edge.runtime.labels.uniform import MIXED, uniform_labels

CLASSES = 5


def source(random: np.random.Generator, size: tuple[int, int], *, reach: float = 3.0, logits: bool = True) -> Moved:
    """A frame with smooth logits, and motion that varies from block to block and leads out of the picture."""
    height, width = size
    blocks = -(-height // 8), -(-width // 8)
    cells = max(1, height // 8), max(1, width // 8)
    values = random.normal(size=(*cells, CLASSES)).astype(np.float32)
    labels = random.integers(0, CLASSES, size, np.uint8)
    motion = random.normal(scale=reach, size=(*blocks, 2)).astype(np.float32)
    weight = random.uniform(0.01, 1, blocks).astype(np.float32)
    return Moved(Seen(labels, values if logits else None), motion, weight)


def in_numpy(sources: list[Moved], place: LogitsPlace | None) -> NDArray[np.uint8]:
    output = np.empty_like(sources[0].seen.labels)
    with_logits = all(each.seen.logits is not None for each in sources)
    moved._in_numpy(sources, CLASSES, place if with_logits else None, output)
    return output


@pytest.mark.parametrize("size", [(64, 96), (61, 93), (8, 8), (7, 200), (1, 1), (135, 3)])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("logits", [True, False])
def test_kernel_and_twin(
    level: str, random: np.random.Generator, size: tuple[int, int], count: int, logits: bool
) -> None:
    sources = [source(random, size, logits=logits) for _ in range(count)]
    cells = max(1, size[0] // 8), max(1, size[1] // 8)
    place = logits_place(size, cells, upscale=8, align_corners=True)
    output = np.empty_like(sources[0].seen.labels)
    assert moved._natively(sources, CLASSES, place if logits else None, output)
    # Sums in another order, and fused, may round a half to the other side.
    assert (output != in_numpy(sources, place)).mean() <= 0.002


def regions(random: np.random.Generator, size: tuple[int, int], *, largest: int = CLASSES) -> NDArray[np.uint8]:
    """Labels as networks make them: large regions with smooth edges."""
    coarse = random.uniform(0, largest, (4, 5)).astype(np.float32)
    smooth = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth, 0, largest - 1).astype(np.uint8)


@pytest.mark.parametrize("size", [(200, 320), (197, 313), (24, 24), (17, 300)])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("reach", [0.0, 0.3, 2.0, 20.0])
def test_what_is_uniform_is_as_if_looked_up(
    level: str, random: np.random.Generator, size: tuple[int, int], count: int, reach: float
) -> None:
    """Squares that are filled at once have the labels that every pixel by itself would have."""
    sources = []
    for _ in range(count):
        each = source(random, size, reach=reach)
        # Neighbours move alike, but for some; one leads nowhere.
        smooth = cv2.GaussianBlur(each.motion, (0, 0), 4)
        some = random.random(smooth.shape[:2]) < 0.03
        smooth[some] = each.motion[some]
        smooth[-1, -1] = np.nan, 1e9
        sources.append(Moved(Seen(regions(random, size), each.seen.logits), smooth, each.weight))
    place = logits_place(size, (max(1, size[0] // 8), max(1, size[1] // 8)), upscale=8, align_corners=True)
    with_maps, without = np.empty(size, np.uint8), np.empty(size, np.uint8)
    assert moved._natively(sources, CLASSES, place, with_maps)
    for each in sources:
        each.seen.uniform[:] = MIXED
    assert moved._natively(sources, CLASSES, place, without)
    np.testing.assert_array_equal(with_maps, without)
    with np.errstate(invalid="ignore"):
        assert (with_maps != in_numpy(sources, place)).mean() <= 0.002


@pytest.mark.parametrize("classes", [2, 16, 17, 32, 33, 256])
def test_any_number_of_classes(level: str, random: np.random.Generator, classes: int) -> None:
    size, blocks = (64, 96), (8, 12)
    place = logits_place(size, blocks, upscale=8, align_corners=True)
    sources = []
    for _ in range(2):
        logits = random.normal(size=(*blocks, classes)).astype(np.float32)
        motion = random.normal(size=(*blocks, 2)).astype(np.float32)
        labels = random.integers(0, classes, size, np.uint8, endpoint=False)
        sources.append(Moved(Seen(labels, logits), motion, random.uniform(0.1, 1, blocks).astype(np.float32)))
    found, expected = np.empty(size, np.uint8), np.empty(size, np.uint8)
    assert moved._natively(sources, classes, place, found)
    moved._in_numpy(sources, classes, place, expected)
    assert (found != expected).mean() <= 0.002


def test_logits_whose_places_do_not_fit_are_refused() -> None:
    require_library()
    function = moved._function()
    labels, motion, weight = np.zeros((8, 8), np.uint8), np.zeros((1, 1, 2), np.float32), np.ones((1, 1), np.float32)
    arguments = moved._Arguments(8, 8, 1, 1, 1, 256)
    arguments.with_logits, arguments.logits_height, arguments.logits_width = 1, 4096, 4096
    pointers = [array.ctypes.data for array in (labels, labels, weight, motion, weight)]
    arguments.source[0], arguments.output = moved._Source(*pointers), labels.ctypes.data
    assert function(ctypes.byref(arguments)) == 0


@pytest.mark.parametrize("size", [(200, 320), (197, 313), (8, 8), (7, 9), (1, 1), (1, 300), (33, 5)])
def test_uniform_labels_and_their_twin(random: np.random.Generator, size: tuple[int, int]) -> None:
    require_library()
    labels = regions(random, size)
    found = uniform_labels(labels)
    np.testing.assert_array_equal(found, uniform.in_numpy(labels))
    for row, column in np.ndindex(found.shape):
        around = labels[8 * row : 8 * row + 16, 8 * column : 8 * column + 16]
        assert found[row, column] == (around[0, 0] if (around == around[0, 0]).all() else MIXED)


def test_whole_steps_move_whole_labels(level: str, random: np.random.Generator) -> None:
    labels = random.integers(0, CLASSES, (64, 96), np.uint8)
    motion = np.tile(np.array([2.0, -1.0], np.float32), (8, 12, 1))  # blocks: 16 pixels to the right, 8 up
    found, _ = moved_labels([Moved(Seen(labels, None), motion, np.ones((8, 12), np.float32))], CLASSES, None)
    expected = labels[np.clip(np.arange(64) - 8, 0, 63)][:, np.clip(np.arange(96) + 16, 0, 95)]
    assert np.array_equal(found, expected)


def test_where_sources_disagree_the_heavier_logits_decide(level: str) -> None:
    size, still = (32, 48), np.zeros((4, 6, 2), np.float32)

    def certain(label: int, weight: NDArray[np.float32]) -> Moved:
        logits = np.zeros((4, 6, CLASSES), np.float32)
        logits[..., label] = 1
        return Moved(Seen(np.full(size, label, np.uint8), logits), still, weight)

    left = np.zeros((4, 6), np.float32)
    left[:, :3] = 1
    place = logits_place(size, (4, 6), upscale=8, align_corners=True)
    found, _ = moved_labels([certain(1, left), certain(3, 1 - left)], CLASSES, place)
    assert (found[:, :24] == 1).all()
    assert (found[:, 24:] == 3).all()


def test_motion_that_is_no_number_stays_where_it_is(level: str, random: np.random.Generator) -> None:
    one = source(random, (64, 96))
    one.motion[2, 3] = np.nan, np.inf
    other = source(random, (64, 96))
    place = logits_place((64, 96), (8, 12), upscale=8, align_corners=True)
    assert moved_labels([one, other], CLASSES, place)[0].max() < CLASSES
    with np.errstate(invalid="ignore"):
        assert in_numpy([one, other], place).max() < CLASSES


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(("size", "upscale"), [((60, 92), 8), ((64, 96), 4), ((64, 96), 1), ((97, 33), 2)])
def test_the_place_in_the_logits_is_where_the_labels_come_from(
    size: tuple[int, int], upscale: int, align_corners: bool
) -> None:
    torch = pytest.importorskip("torch")
    from arseg_edge.export.operators.segmentation_labels import resize_logits

    cells = (9, 13)
    y, x = np.meshgrid(np.arange(cells[0]), np.arange(cells[1]), indexing="ij")
    ramps = torch.from_numpy(np.stack([x, y]).astype(np.float32))[None]
    there = resize_logits(ramps, size, upscale=upscale, align_corners=align_corners)[0].numpy()
    place = logits_place(size, cells, upscale=upscale, align_corners=align_corners)
    for axis in (0, 1):
        pixels = np.arange(size[1 - axis])
        expected = np.clip(place.scale[axis] * pixels + place.offset[axis], 0, cells[1 - axis] - 1)
        along = there[axis][0] if axis == 0 else there[axis][:, 0]
        # Two resizes, one after the other, round off the ends and the steps of the first.
        assert np.abs(along - expected).max() <= 0.5 / upscale + 1e-4


def sure_source(random: np.random.Generator, size: tuple[int, int], *, reach: float) -> Moved:
    """A frame of regions that is sure of most, but not of all, and is shown here and there."""
    each = source(random, size, reach=reach)
    coarse = random.uniform(100, 450, (5, 6)).astype(np.float32)
    sure = np.clip(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)
    motion = np.ascontiguousarray(cv2.GaussianBlur(each.motion, (0, 0), 4))
    shown = random.uniform(0, 1, each.weight.shape).astype(np.float32)
    weight = np.where(random.random(each.weight.shape) < 0.05, 0, each.weight).astype(np.float32)
    return Moved(Seen(regions(random, size), each.seen.logits, sure), motion, weight, shown)


@pytest.mark.parametrize("size", [(200, 320), (61, 93), (8, 8), (7, 200), (1, 1)])
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("reach", [0.3, 20.0])
def test_confidence_of_kernel_and_twin(
    level: str, random: np.random.Generator, size: tuple[int, int], count: int, reach: float
) -> None:
    sources = [sure_source(random, size, reach=reach) for _ in range(count)]
    place = logits_place(size, (max(1, size[0] // 8), max(1, size[1] // 8)), upscale=8, align_corners=True)
    labels, sure, expected_labels, expected = (np.empty(size, np.uint8) for _ in range(4))
    assert moved._natively(sources, CLASSES, place, labels, sure)
    moved._in_numpy(sources, CLASSES, place, expected_labels, expected)
    same = labels == expected_labels
    assert same.mean() >= 0.998
    assert np.abs(sure.astype(int) - expected)[same].max() <= 1
    alone = np.empty(size, np.uint8)
    assert moved._natively(sources, CLASSES, place, alone)
    np.testing.assert_array_equal(alone, labels)


@pytest.mark.parametrize("native", [True, False], ids=["native", "numpy"])
def test_confidence_by_hand(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two frames, half of which agree: one weighs three times the other, and shows the frame worse."""
    if not native:
        monkeypatch.setattr(moved, "_natively", lambda *_: False)
    size, blocks = (16, 16), (2, 2)
    still = np.zeros((*blocks, 2), np.float32)
    shown = np.array([[0.5, 0.5], [0.0, 0.5]], np.float32)

    def of(labels: int, sure: int, weight: float, shown: NDArray[np.float32]) -> Moved:
        seen = Seen(np.full(size, labels, np.uint8), None, np.full(size, sure, np.uint8))
        seen.labels[:, 8:] = 1
        return Moved(seen, still, np.full(blocks, weight, np.float32), shown)

    labels, sure = moved_labels([of(1, 200, 0.75, shown), of(2, 100, 0.25, 0.8 * shown)], CLASSES, None)
    np.testing.assert_array_equal(labels, 1)
    assert sure is not None
    # Left: only the first says 1: 0.75 x 200 x 0.5. Right: both do: (0.75 x 200 + 0.25 x 100) x 0.5.
    np.testing.assert_array_equal(sure[::8, ::8], [[75, 88], [0, 88]])


def test_confidence_moves_with_the_labels() -> None:
    """A pixel is as sure as the one that it comes from."""
    size = 40, 64
    labels = (np.indices(size).sum(axis=0) % CLASSES).astype(np.uint8)
    sure = np.arange(size[0] * size[1]).reshape(size).astype(np.uint8)
    motion = np.zeros((5, 8, 2), np.float32)
    motion[..., 0], motion[..., 1] = 3 / 8, -2 / 8
    one = Moved(Seen(labels, None, sure), motion, np.ones((5, 8), np.float32))
    found, moved_sure = moved_labels([one], CLASSES, None)
    assert moved_sure is not None
    np.testing.assert_array_equal(found[2:, :-3], labels[:-2, 3:])
    np.testing.assert_array_equal(moved_sure[2:, :-3], sure[:-2, 3:])


def test_no_confidence_where_a_source_has_none(random: np.random.Generator) -> None:
    sources = [sure_source(random, (24, 40), reach=1.0), source(random, (24, 40))]
    assert moved_labels(sources, CLASSES, None)[1] is None
