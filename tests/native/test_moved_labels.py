"""Moved labels: the kernel against its twin in NumPy, and both against what must come out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from arseg_edge.runtime.labels import moved
from arseg_edge.runtime.labels.moved import LogitsPlace, Moved, logits_place, moved_labels
from arseg_edge.runtime.labels.seen import Seen

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


def test_whole_steps_move_whole_labels(level: str, random: np.random.Generator) -> None:
    labels = random.integers(0, CLASSES, (64, 96), np.uint8)
    motion = np.tile(np.array([2.0, -1.0], np.float32), (8, 12, 1))  # blocks: 16 pixels to the right, 8 up
    found = moved_labels([Moved(Seen(labels, None), motion, np.ones((8, 12), np.float32))], CLASSES, None)
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
    found = moved_labels([certain(1, left), certain(3, 1 - left)], CLASSES, place)
    assert (found[:, :24] == 1).all()
    assert (found[:, 24:] == 3).all()


def test_motion_that_is_no_number_stays_where_it_is(level: str, random: np.random.Generator) -> None:
    one = source(random, (64, 96))
    one.motion[2, 3] = np.nan, np.inf
    other = source(random, (64, 96))
    place = logits_place((64, 96), (8, 12), upscale=8, align_corners=True)
    assert moved_labels([one, other], CLASSES, place).max() < CLASSES
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
