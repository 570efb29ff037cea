"""Vectors and chains, against the authors' numbers, slow twins and records made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from arseg_edge.errors import SequenceError
from arseg_edge.runtime.motion import CHAINS, Chaining, PublishedChain, SubpixelChain
from arseg_edge.runtime.motion.vectors import INTRA, BlockMotion, block_motion, widened

COMPOSITION = Path(__file__).parents[1] / "reference" / "motion-composition.npz"

RECORD = np.dtype(
    [
        ("source", np.int32),
        ("w", np.uint8),
        ("h", np.uint8),
        ("dst_x", np.int16),
        ("dst_y", np.int16),
        ("motion_x", np.int32),
        ("motion_y", np.int32),
        ("motion_scale", np.uint16),
    ]
)


def grid(vectors: npt.NDArray[np.floating], reference: npt.NDArray[np.integer], size: tuple[int, int]) -> BlockMotion:
    return BlockMotion(vectors.astype(np.float32), reference.astype(np.int8), *size)


def random_blocks(seed: int, size: tuple[int, int], reach: int, references: int = 1) -> BlockMotion:
    """Vectors in quarter pixels, a tenth of the blocks intra."""
    rng = np.random.default_rng(seed)
    rows, columns = -(-size[0] // 8), -(-size[1] // 8)
    reference = rng.integers(0, references, (rows, columns))
    reference[rng.random((rows, columns)) < 0.1] = INTRA
    return grid(rng.integers(-4 * reach, 4 * reach + 1, (rows, columns, 2)) / 4, reference, size)


@pytest.fixture(params=["native", "python"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both forms of what the native library does; where that is missing, the same one twice."""
    monkeypatch.setenv("ARSEG_EDGE_NATIVE", "1" if request.param == "native" else "0")


# Records to blocks


def test_blocks_of_all_sizes() -> None:
    records = np.array(
        [
            (-1, 16, 16, 8, 8, 5, -6, 4),
            (-1, 16, 8, 24, 4, 1, 2, 4),
            (-1, 8, 16, 36, 8, 3, 4, 2),
            (-1, 8, 8, 44, 12, -7, 8, 8),
        ],
        RECORD,
    )
    blocks = block_motion(records, 16, 48)
    # fmt: off
    assert blocks.displacement.tolist() == [
        [[1.25, -1.5], [1.25, -1.5], [0.25, 0.5], [0.25, 0.5], [1.5, 2.0], [0.0, 0.0]],
        [[1.25, -1.5], [1.25, -1.5], [0.0, 0.0],  [0.0, 0.0],  [1.5, 2.0], [-0.875, 1.0]],
    ]
    # fmt: on
    assert blocks.reference.tolist() == [[0, 0, 0, 0, 0, INTRA], [0, 0, INTRA, INTRA, 0, 0]]


def test_the_future_is_left_out() -> None:
    records = np.array([(1, 16, 16, 8, 8, 40, 40, 4), (-1, 8, 8, 4, 4, 4, 8, 4)], RECORD)
    blocks = block_motion(records, 16, 16)
    assert blocks.reference.tolist() == [[0, INTRA], [INTRA, INTRA]]
    assert blocks.displacement[0, 0].tolist() == [1, 2]


def test_blocks_beyond_the_picture_are_cut() -> None:
    # The coded picture is 32x32, the picture 20x18: 3 x 3 blocks.
    records = np.array([(-1, 16, 16, x, y, 4, 4, 4) for y in (8, 24, -8) for x in (8, 24, 40)], RECORD)
    blocks = block_motion(records, 18, 20)
    assert blocks.reference.tolist() == [[0, 0, 0]] * 3
    assert (blocks.displacement == 1).all()
    assert repr(blocks) == "BlockMotion(3x3 blocks of 20x18 pixels)"


@pytest.mark.parametrize("future", [False, True])
@pytest.mark.parametrize("sources", [(-1,), (1,), (-1, 1)])
def test_blocks_equal_their_slow_twin(sources: tuple[int, ...], future: bool) -> None:
    rng = np.random.default_rng(len(sources))
    records = np.zeros(60, RECORD)
    records["source"] = rng.choice(sources, 60)
    records["motion_scale"] = rng.choice([1, 2, 4], 60)
    for side, centre in (("w", "dst_x"), ("h", "dst_y")):
        records[side] = rng.choice([8, 16], 60)
        records[centre] = rng.integers(-4, 12, 60) * 8 + records[side] // 2
    for component in ("motion_x", "motion_y"):
        records[component] = rng.integers(-(1 << 20), 1 << 20, 60)
    want = np.zeros((7, 9, 2))
    reference = np.full((7, 9), INTRA)
    for source, w, h, x, y, dx, dy, scale in records.tolist():
        if (source > 0) != future:
            continue
        for row in range((y - h // 2) // 8, (y + h // 2) // 8):
            for column in range((x - w // 2) // 8, (x + w // 2) // 8):
                if 0 <= row < 7 and 0 <= column < 9:
                    want[row, column], reference[row, column] = (dx / scale, dy / scale), 0
    blocks = block_motion(records, 51, 70, future=future)
    np.testing.assert_array_equal(blocks.reference, reference)
    np.testing.assert_array_equal(blocks.vectors, want)


def test_no_records_are_all_intra() -> None:
    assert (block_motion(np.empty(0, RECORD), 24, 40).reference == INTRA).all()


def test_vectors_of_intra_blocks_are_zero() -> None:
    blocks = grid(np.full((1, 3, 2), 5), np.array([[0, INTRA, 2]]), (8, 24))
    assert blocks.vectors.tolist() == [[[5, 5], [0, 0], [5, 5]]]
    assert (blocks.displacement == 5).all()


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.int8])
def test_each_block_covers_its_pixels(dtype: type[np.generic]) -> None:
    cells = np.random.default_rng(0).integers(0, 100, (3, 4, 2)).astype(dtype)
    np.testing.assert_array_equal(widened(cells, 27), cells.repeat(8, axis=1)[:, :27])


# Chains


@pytest.mark.usefixtures("form")
def test_published_chaining_is_the_authors() -> None:
    with np.load(COMPOSITION) as file:
        quarters, composed = file["blocks"], file["composed"]
    chain = PublishedChain()
    chain.restart(720, 960)
    for blocks, want in zip(quarters, composed, strict=True):
        motion = chain.advance(grid(blocks[..., :2] / 4, blocks[..., 2], (720, 960)))
        assert motion.dtype == np.float32
        np.testing.assert_array_equal(motion * 4, want)


def twin(frames: list[BlockMotion], size: tuple[int, int], *, whole: bool) -> list[npt.NDArray[np.float64]]:
    """Both chains as their definition says, pixel by pixel, on displacements instead of positions."""
    height, width = size
    maps = [np.zeros((height, width, 2))]
    for blocks in frames:
        motion = np.zeros((height, width, 2))
        for y in range(height):
            for x in range(width):
                reference = int(blocks.reference[y // 8, x // 8])
                dx, dy = (float(d) for d in blocks.displacement[y // 8, x // 8]) if reference >= 0 else (0.0, 0.0)
                if whole:
                    dx, dy = round(dx), round(dy)  # Python rounds halves to even
                px, py = min(max(x + dx, 0.0), width - 1.0), min(max(y + dy, 0.0), height - 1.0)
                known = maps[-1 - min(max(reference, 0), len(maps) - 1)]
                x0, y0 = int(px), int(py)
                x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
                u, v = px - x0, py - y0
                above = (1 - u) * known[y0, x0] + u * known[y0, x1]
                below = (1 - u) * known[y1, x0] + u * known[y1, x1]
                motion[y, x] = (1 - v) * above + v * below + (px - x, py - y)
        maps.append(motion)
    return maps[1:]


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("band", [1, 16 * 56, 1 << 16])
@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize("size", [(40, 56), (37, 51)])
@pytest.mark.parametrize("chaining", ["published", "subpixel"])
def test_chains_equal_their_slow_twins(
    monkeypatch: pytest.MonkeyPatch, chaining: Chaining, size: tuple[int, int], references: int, band: int
) -> None:
    monkeypatch.setattr("arseg_edge.runtime.motion.chain._BAND", band)
    frames = [random_blocks(seed, size, reach=6, references=references) for seed in range(6)]
    chain = CHAINS[chaining]()
    chain.restart(*size)
    for blocks, want in zip(frames, twin(frames, size, whole=chaining == "published"), strict=True):
        np.testing.assert_allclose(chain.advance(blocks), want, atol=1e-4)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("chaining", list(CHAINS))
def test_results_stay_as_they_were_given(chaining: Chaining) -> None:
    size = (32, 40)
    chain = CHAINS[chaining]()
    chain.restart(*size)
    given = [chain.advance(random_blocks(seed, size, reach=3)) for seed in range(3)]
    copies = [motion.copy() for motion in given]
    chain.advance(random_blocks(9, size, reach=3))
    chain.restart(*size)
    chain.advance(random_blocks(10, size, reach=3))
    for motion, copy in zip(given, copies, strict=True):
        np.testing.assert_array_equal(motion, copy)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("chaining", list(CHAINS))
def test_a_restart_forgets(chaining: Chaining) -> None:
    used, fresh = CHAINS[chaining](), CHAINS[chaining]()
    used.restart(64, 64)
    used.advance(random_blocks(0, (64, 64), reach=8))
    for chain in (used, fresh):
        chain.restart(32, 40)
    last = random_blocks(1, (32, 40), reach=3, references=3)
    np.testing.assert_array_equal(used.advance(last), fresh.advance(last))


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("far", [5000.0, 1e6, -1e6])
@pytest.mark.parametrize("chaining", list(CHAINS))
def test_vectors_of_a_damaged_stream_end_at_the_border(chaining: Chaining, far: float) -> None:
    chain = CHAINS[chaining]()
    chain.restart(16, 24)
    motion = chain.advance(grid(np.full((2, 3, 2), far), np.zeros((2, 3)), (16, 24)))
    x, y = np.meshgrid(np.arange(24), np.arange(16))
    border = (23, 15) if far > 0 else (0, 0)
    np.testing.assert_array_equal(motion, np.stack([border[0] - x, border[1] - y], axis=-1))


@pytest.mark.parametrize("chain", [PublishedChain(), SubpixelChain()])
def test_chains_that_were_not_started(chain: PublishedChain | SubpixelChain) -> None:
    with pytest.raises(SequenceError, match="24x16 pixels does not follow a keyframe of that size"):
        chain.advance(random_blocks(0, (16, 24), reach=1))
    chain.restart(16, 32)
    with pytest.raises(SequenceError, match="restart the chain"):
        chain.advance(random_blocks(0, (16, 24), reach=1))
