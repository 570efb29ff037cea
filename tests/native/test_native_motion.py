"""Motion's native functions against their forms in Python, to the bit, and against plain twins; what they refuse."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from operator_session import require_library

from arseg_edge.runtime import native
from arseg_edge.runtime.motion import PublishedChain
from arseg_edge.runtime.motion.anchors import PastAnchor, Reach, from_future
from arseg_edge.runtime.motion.native import (
    RECORD,
    chain_published,
    followed,
    grid_vectors,
    mean_blocks,
    mean_difference,
)
from arseg_edge.runtime.motion.step import Step
from arseg_edge.runtime.motion.vectors import INTRA, BlockMotion, ListedVectors, block_motion, listed_vectors

SIZES = [(1, 1), (8, 8), (16, 24), (37, 51), (7, 130), (130, 7), (64, 96)]


@pytest.fixture(autouse=True)
def _library() -> None:
    require_library()


def blocks_of(size: tuple[int, int]) -> tuple[int, int]:
    return -(-size[0] // 8), -(-size[1] // 8)


def hostile_blocks(random: np.random.Generator, size: tuple[int, int], references: int) -> BlockMotion:
    """Quarter pixels within reach, and a fifth of them anything."""
    shape = blocks_of(size)
    displacement = (random.integers(-200, 201, (*shape, 2)) / 4).astype(np.float32)
    odd = random.choice([0.5, 1.5, -2.5, 32767, -32767, 32767.5, 1e9, np.inf, -np.inf, -0.0], (*shape, 2))
    displacement = np.where(random.random((*shape, 2)) < 0.2, odd, displacement).astype(np.float32)
    reference = random.integers(-1, references, shape).astype(np.int8)
    return BlockMotion(displacement, reference, *size)


def published_twin(blocks: BlockMotion, known: list[npt.NDArray[np.int16]]) -> npt.NDArray[np.int64]:
    """Positions in the keyframe, pixel by pixel."""
    found = np.zeros((blocks.height, blocks.width, 2), np.int64)
    for y in range(blocks.height):
        for x in range(blocks.width):
            reference = int(blocks.reference[y // 8, x // 8])
            vector = blocks.displacement[y // 8, x // 8] if reference != INTRA else (0.0, 0.0)
            # Python rounds halves to even.
            dx, dy = (round(min(max(float(part), -1e5), 1e5)) for part in vector)
            row, column = min(max(y + dy, 0), blocks.height - 1), min(max(x + dx, 0), blocks.width - 1)
            found[y, x] = known[min(max(reference, 0), len(known) - 1)][row, column]
    return found


@pytest.mark.parametrize("references", [1, 2, 3, 5])
@pytest.mark.parametrize("size", SIZES)
def test_chaining_equals_its_slow_twin(random: np.random.Generator, size: tuple[int, int], references: int) -> None:
    for count in (1, 2, 3):
        known = [random.integers(0, max(size), (*size, 2)).astype(np.int16) for _ in range(count)]
        blocks = hostile_blocks(random, size, references)
        positions = np.full((*size, 2), -1, np.int16)
        motion = np.empty((*size, 2), np.float32)
        assert chain_published(blocks.displacement, blocks.reference, known, positions, motion)
        want = published_twin(blocks, known)
        np.testing.assert_array_equal(positions, want)
        grid = np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), axis=-1)
        np.testing.assert_array_equal(motion, want - grid)


@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize("size", [*SIZES, (272, 480)])
def test_chains_are_the_same_without_the_library(
    monkeypatch: pytest.MonkeyPatch, random: np.random.Generator, size: tuple[int, int], references: int
) -> None:
    frames = [hostile_blocks(random, size, references) for _ in range(5)]
    elsewhere = random.integers(-9, 10, (*size, 2)).astype(np.float32)  # leads out of the picture

    def motions(turned_on: Callable[[int], bool]) -> list[npt.NDArray[np.float32]]:
        chain = PublishedChain()
        found = []
        for _ in range(2):
            chain.restart(*size)
            for index, blocks in enumerate(frames):
                monkeypatch.setenv("ARSEG_EDGE_NATIVE", "1" if turned_on(index) else "0")
                found.append(chain.advance(blocks))
                if index == 2:
                    chain.adopt(elsewhere)
        return found

    want = motions(lambda _: False)
    for turned_on in (lambda _: True, lambda index: index % 2 == 0):
        np.testing.assert_array_equal(motions(turned_on), want)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_no_number_is_no_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = BlockMotion(np.full((1, 1, 2), np.nan, np.float32), np.zeros((1, 1), np.int8), 4, 5)
    for turned_on in "10":
        monkeypatch.setenv("ARSEG_EDGE_NATIVE", turned_on)
        chain = PublishedChain()
        chain.restart(4, 5)
        assert not chain.advance(blocks).any()


# Records


def random_records(random: np.random.Generator, count: int, size: tuple[int, int]) -> npt.NDArray[Any]:
    """Blocks of all kinds in and around the picture, overlapping; the padding bytes are anything."""
    records = np.frombuffer(random.bytes(count * RECORD.itemsize), RECORD).copy()
    records["source"] = random.integers(-2, 3, count)
    for side, centre, extent in (("w", "dst_x", size[1]), ("h", "dst_y", size[0])):
        records[side] = random.choice([8, 16, 16, 0, 4, 255], count)
        records[centre] = random.integers(-40, extent + 40, count)
    far = random.random(count) < 0.1
    records["dst_x"][far] = random.choice([-32768, -32767, 32767], far.sum())
    records["motion_scale"] = random.choice([1, 2, 4, 65535], count)
    near = random.random(count) < 0.8
    for component in ("motion_x", "motion_y"):
        records[component][near] = random.integers(-400, 401, near.sum())
    return records


def assert_same(found: ListedVectors, want: ListedVectors) -> None:
    for one, other in ((found.past, want.past), (found.future, want.future)):
        assert one.displacement.dtype == other.displacement.dtype
        np.testing.assert_array_equal(one.displacement, other.displacement)
        np.testing.assert_array_equal(one.reference, other.reference)
        assert (one.reference.dtype, one.height, one.width) == (other.reference.dtype, other.height, other.width)


def vectors_in_python(records: npt.NDArray[Any], size: tuple[int, int]) -> ListedVectors:
    return ListedVectors(block_motion(records, *size), block_motion(records, *size, future=True))


@pytest.mark.parametrize("count", [0, 1, 40, 400])
@pytest.mark.parametrize("size", [*SIZES, (272, 480)])
def test_vectors_are_the_same_without_the_library(
    monkeypatch: pytest.MonkeyPatch, random: np.random.Generator, size: tuple[int, int], count: int
) -> None:
    for _ in range(10):
        records = random_records(random, count, size)
        assert grid_vectors(records, *size, blocks_of(size)) is not None
        want = vectors_in_python(records, size)
        assert_same(listed_vectors(records, *size), want)
        with monkeypatch.context() as context:
            context.setenv("ARSEG_EDGE_NATIVE", "0")
            assert grid_vectors(records, *size, blocks_of(size)) is None
            assert_same(listed_vectors(records, *size), want)


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_a_scale_of_zero() -> None:
    records = np.zeros(3, RECORD)
    records["source"], records["w"], records["h"] = -1, 8, 8
    records["dst_x"], records["dst_y"] = [4, 12, 20], 4
    records["motion_x"] = [0, 5, -5]
    found = listed_vectors(records, 8, 24)
    assert_same(found, vectors_in_python(records, (8, 24)))
    np.testing.assert_array_equal(found.past.displacement[0, :, 0], [np.nan, np.inf, -np.inf])


def test_each_list_on_its_own_grid() -> None:
    records = np.zeros(2, RECORD)
    records["w"], records["h"], records["motion_scale"] = 16, 8, 4
    records["source"], records["dst_x"], records["dst_y"] = [-1, 1], [8, 16], [4, 12]
    records["motion_x"], records["motion_y"] = [5, -6], [2, 3]
    found = listed_vectors(records, 16, 24)
    assert found.past.reference.tolist() == [[0, 0, INTRA], [INTRA] * 3]
    assert found.future.reference.tolist() == [[INTRA] * 3, [INTRA, 0, 0]]
    assert found.past.vectors[0].tolist() == [[1.25, 0.5], [1.25, 0.5], [0, 0]]
    assert found.future.vectors[1].tolist() == [[0, 0], [-1.5, 0.75], [-1.5, 0.75]]


# What is left to the forms in Python


GRID = np.zeros((2, 3, 2), np.float32)
REFERENCE = np.zeros((2, 3), np.int8)
KNOWN = np.zeros((16, 24, 2), np.int16)


def chained(**others: Any) -> bool:
    """Whether the library chains a frame of 16 x 24 pixels, with some of its arrays replaced."""
    arrays: dict[str, Any] = {
        "displacement": GRID,
        "reference": REFERENCE,
        "known": [KNOWN],
        "positions": np.empty_like(KNOWN),
        "motion": np.empty((16, 24, 2), np.float32),
    }
    return chain_published(**{**arrays, **others})


@pytest.mark.parametrize(
    "others",
    [
        {"displacement": GRID[:1]},
        {"displacement": GRID[:1], "reference": REFERENCE[:1]},
        {"displacement": GRID.astype(np.float64)},
        {"displacement": np.zeros((2, 6, 2), np.float32)[:, ::2]},
        {"displacement": GRID.transpose(1, 0, 2), "reference": REFERENCE.T},
        {"reference": REFERENCE.astype(np.int32)},
        {"displacement": GRID[None], "reference": REFERENCE[None]},
        {"displacement": GRID[:, :, None], "reference": REFERENCE[..., None]},
        {"displacement": GRID[0], "reference": REFERENCE[0]},
        {"known": []},
        {"known": [KNOWN, KNOWN[:8]]},
        {"known": [KNOWN.astype(np.float32)]},
        {"positions": KNOWN[..., 0]},
        {"positions": KNOWN[:8]},
        {"motion": GRID},
        {"motion": np.empty((16, 24, 2), np.float64)},
        {
            "displacement": GRID[:0],
            "reference": REFERENCE[:0],
            "known": [KNOWN[:0]],
            "positions": KNOWN[:0],
            "motion": np.empty((0, 24, 2), np.float32),
        },
    ],
)
def test_chaining_that_does_not_fit(others: dict[str, Any]) -> None:
    assert chained()
    assert not chained(**others)


def test_records_that_do_not_fit(random: np.random.Generator) -> None:
    records = random_records(random, 10, (16, 24))
    assert grid_vectors(records, 16, 24, (2, 3)) is not None
    packed = np.dtype([(name, RECORD[name]) for name in RECORD.names or ()])
    for other in (records[::2], records.reshape(2, 5), records.view(np.uint8), records.astype(packed)):
        assert grid_vectors(other, 16, 24, (2, 3)) is None
    for size, blocks in (((0, 24), (0, 3)), ((16, 24), (3, 3)), ((16, 1 << 15), (2, 1 << 12))):
        assert grid_vectors(records, *size, blocks) is None


def test_blocks_of_another_form_are_chained_in_python() -> None:
    size = (16, 24)
    displacement = np.asfortranarray(np.random.default_rng(0).integers(-9, 10, (2, 3, 2)).astype(np.float32))
    used, plain = PublishedChain(), PublishedChain()
    for chain in (used, plain):
        chain.restart(*size)
    want = plain.advance(BlockMotion(np.ascontiguousarray(displacement), REFERENCE, *size))
    np.testing.assert_array_equal(used.advance(BlockMotion(displacement, REFERENCE, *size)), want)


@pytest.mark.parametrize("missing", range(5))
def test_null_is_refused(missing: int) -> None:
    library = native.library()
    assert library is not None
    arrays = [GRID, REFERENCE, None, KNOWN.copy(), np.empty((16, 24, 2), np.float32)]
    pointers = [ctypes.c_void_p(None if each is None else each.ctypes.data) for each in arrays]
    pointers[2] = ctypes.cast((ctypes.c_void_p * 1)(KNOWN.ctypes.data), ctypes.c_void_p)
    sizes = [ctypes.c_int64(each) for each in (16, 24, 2, 3)]
    one = ctypes.c_int64(1)
    assert library.arseg_published(*sizes, *pointers[:3], one, *pointers[3:]) == 1
    pointers[missing] = ctypes.c_void_p(None)
    assert library.arseg_published(*sizes, *pointers[:3], one, *pointers[3:]) == 0


# The library itself


@pytest.mark.filterwarnings("ignore::arseg_edge.runtime.native.NativeLibraryWarning")
def test_a_library_that_is_missing_or_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"not a library")
    for found in (None, broken):
        monkeypatch.setattr(native, "_find", lambda found=found: found)
        assert native.library() is None
        assert not chained()


# Steps on the grid of blocks

GRIDS = [(2, 2), (1, 4), (4, 1), (3, 5), (7, 33), (45, 60), (90, 120)]


def bilinear(field: npt.NDArray[Any], places: npt.NDArray[np.float64], parts: int | None) -> npt.NDArray[np.float64]:
    """``field`` [h, w, c] at (x, y) [h, w, 2], in ``parts`` of a cell if given, its border repeated."""
    rows, columns = field.shape[:2]
    if parts is not None:
        places = np.rint(places * parts) / parts
    low = np.floor(places)
    right, lower = np.moveaxis(places - low, -1, 0)[..., None]
    x, y = low[..., 0].astype(np.int64), low[..., 1].astype(np.int64)

    def at(down: int, across: int) -> npt.NDArray[np.float64]:
        found = field[np.clip(y + down, 0, rows - 1), np.clip(x + across, 0, columns - 1)]
        return np.asarray(found, np.float64)

    upper = at(0, 0) * (1 - right) + at(0, 1) * right
    return np.asarray(upper * (1 - lower) + (at(1, 0) * (1 - right) + at(1, 1) * right) * lower)


@pytest.mark.parametrize("inverse", [0, 2])
@pytest.mark.parametrize("grid", GRIDS)
def test_a_step_is_followed_as_written_out(
    level: str, random: np.random.Generator, grid: tuple[int, int], inverse: int
) -> None:
    own = np.stack(np.meshgrid(np.arange(grid[1]), np.arange(grid[0])), axis=-1).astype(np.float32)
    known = np.clip(own + random.normal(scale=2, size=own.shape), 0, [grid[1] - 1, grid[0] - 1]).astype(np.float32)
    # In whole 1/64, so that places are the same in float and in double, and some lie between two 1/32.
    step = (random.integers(-300, 301, own.shape) / 64).astype(np.float32)
    anchor = random.integers(0, 256, grid).astype(np.uint8)
    found = followed(known, step, anchor, inverse=inverse)
    assert found is not None
    back = step.astype(np.float64)
    if inverse:
        back = -back
        for _ in range(inverse):
            back = -bilinear(step, (own + back).astype(np.float32).astype(np.float64), 32)
    want = bilinear(known, (own + back).astype(np.float32).astype(np.float64), 32)
    positions, motion, shown = found
    want = np.clip(want, 0, [grid[1] - 1, grid[0] - 1])
    # Rounding can take a place to the other 1/32, where the inverse is a sum.
    far = np.abs(positions - want).max(axis=-1) > 1e-4
    assert far.mean() <= (0.02 if inverse else 0)
    np.testing.assert_array_equal(motion, positions - own)
    grey = bilinear(anchor[..., None], positions.astype(np.float64), None)[..., 0]
    assert np.abs(shown - grey).max() <= 0.501


@pytest.mark.parametrize("grid", [grid for grid in GRIDS if grid[0] * grid[1] >= 4])
def test_following_is_the_same_without_the_library(
    monkeypatch: pytest.MonkeyPatch, random: np.random.Generator, grid: tuple[int, int]
) -> None:
    luma = [random.integers(0, 256, grid).astype(np.uint8) for _ in range(6)]
    steps = [Step(each, random.normal(scale=1.5, size=(*grid, 2)).astype(np.float32)) for each in luma]

    def reaches(turned_on: str) -> list[Reach]:
        monkeypatch.setenv("ARSEG_EDGE_NATIVE", turned_on)
        past = PastAnchor(luma[0])
        return [*(past.follow(step) for step in steps[1:]), *from_future(steps)]

    for native_one, python_one in zip(reaches("1"), reaches("0"), strict=True):
        assert native_one.distance == python_one.distance
        # OpenCV rounds its last bit otherwise from version to version: a place then falls into the next 1/32.
        apart = np.abs(native_one.motion - python_one.motion).max(axis=-1)
        assert (apart > 1e-4).mean() <= 0.01
        assert (np.abs(native_one.difference.astype(int) - python_one.difference) > 1).mean() <= 0.02


@pytest.mark.parametrize("step", [np.nan, np.inf, -np.inf, 1e30, -1e9])
def test_steps_out_of_reach_end_inside(level: str, step: float) -> None:
    own = np.stack(np.meshgrid(np.arange(5), np.arange(3)), axis=-1).astype(np.float32)
    anchor = np.arange(15, dtype=np.uint8).reshape(3, 5)
    for inverse in (0, 2):
        found = followed(own, np.full((3, 5, 2), step, np.float32), anchor, inverse=inverse)
        assert found is not None
        positions, motion, shown = found
        assert (positions >= 0).all()
        assert (positions <= [4, 2]).all()
        assert np.isfinite(motion).all()
        assert shown.max() < 15


@pytest.mark.parametrize("grid", [(1, 1), (1, 2), (2, 1), *GRIDS])
def test_differences_are_means_of_nine(level: str, random: np.random.Generator, grid: tuple[int, int]) -> None:
    luma, shown = (random.integers(0, 256, grid).astype(np.uint8) for _ in range(2))
    found = mean_difference(luma, shown)
    apart = np.abs(luma.astype(int) - shown)
    rows, columns = (np.abs(np.arange(-1, side + 1)) for side in grid)
    for indices, side in ((rows, grid[0]), (columns, grid[1])):
        indices[-1] = max(0, side - 2)
        indices[0] = min(1, side - 1)
    around = apart[rows][:, columns]
    sums = sum(around[y : y + grid[0], x : x + grid[1]] for y in range(3) for x in range(3))
    np.testing.assert_array_equal(found, np.floor(np.asarray(sums) / 9 + 0.5))


@pytest.mark.parametrize("size", [*SIZES, (720, 960), (9, 8200)])
def test_the_brightness_of_blocks(level: str, random: np.random.Generator, size: tuple[int, int]) -> None:
    # Small numbers, so that many means lie half between two; and a plane with something beside it.
    plane = random.integers(0, 4, (size[0], size[1] + 5)).astype(np.uint8)[:, : size[1]]
    rows, columns = blocks_of(size)
    padded = np.pad(plane, ((0, rows * 8 - size[0]), (0, columns * 8 - size[1])), mode="edge").astype(np.float64)
    want = np.rint(padded.reshape(rows, 8, columns, 8).mean((1, 3)))
    np.testing.assert_array_equal(mean_blocks(plane, (rows, columns)), want)


def test_arrays_of_another_form_are_left_to_the_twins() -> None:
    pairs, grey = np.zeros((3, 4, 2), np.float32), np.zeros((3, 4), np.uint8)
    assert followed(pairs, pairs, grey, inverse=0) is not None
    assert followed(pairs.astype(np.float64), pairs, grey, inverse=0) is None
    assert followed(pairs, pairs[:2], grey, inverse=0) is None
    assert followed(pairs[:1, :3].copy(), pairs[:1, :3].copy(), grey[:1, :3].copy(), inverse=0) is None
    assert mean_difference(grey, grey[:, :3]) is None
    assert mean_blocks(np.zeros((16, 16), np.uint8)[:, ::2], (2, 1)) is None
    assert mean_blocks(np.zeros((16, 16), np.uint16), (2, 2)) is None
