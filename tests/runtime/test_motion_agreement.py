"""The working picture, the choice among guesses and the spreading of vectors, against slow twins."""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt
import pytest
from streams import as_frame, panning, texture

from arseg_edge.errors import SequenceError
from arseg_edge.runtime.motion import CHAINS, Chaining
from arseg_edge.runtime.motion.agreement import (
    MISMATCH,
    Choice,
    disagreement,
    exposed_like,
    mismatch,
    pixel_grid,
    resized,
)
from arseg_edge.runtime.motion.chain import MotionChain
from arseg_edge.runtime.motion.luma import WORKING_PIXELS, working_luma, working_size
from arseg_edge.runtime.motion.published import PublishedChain
from arseg_edge.runtime.motion.resolve import guesses
from arseg_edge.runtime.motion.subpixel import SubpixelChain
from arseg_edge.runtime.motion.tracker import Tracker
from arseg_edge.runtime.motion.vectors import INTRA, BlockMotion, ListedVectors, PixelVectors

HEIGHT, WIDTH = 40, 56


def grey(seed: int) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(texture(HEIGHT, WIDTH, seed)[..., 0])


def sampled(image: npt.NDArray[np.generic], positions: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Bilinear, border repeated."""
    source = image.astype(np.float64)
    height, width = image.shape[:2]
    x, y = np.clip(positions[..., 0], 0, width - 1), np.clip(positions[..., 1], 0, height - 1)
    x0, y0 = x.astype(int), y.astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    u, v = (x - x0).reshape(*x.shape, *[1] * (source.ndim - 2)), (y - y0).reshape(*y.shape, *[1] * (source.ndim - 2))
    above = (1 - u) * source[y0, x0] + u * source[y0, x1]
    below = (1 - u) * source[y1, x0] + u * source[y1, x1]
    return np.asarray((1 - v) * above + v * below)


def twin_disagreement(
    luma: npt.NDArray[np.uint8], keyframe: npt.NDArray[np.uint8], positions: npt.NDArray[np.float32], side: int
) -> npt.NDArray[np.float64]:
    far = np.pad(np.abs(luma - np.rint(sampled(keyframe, positions))), side // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(far, (side, side))
    return np.asarray(windows.mean(axis=(2, 3)))


def wandering(seed: int) -> npt.NDArray[np.float32]:
    """Positions within and a little outside the picture, in thirty-seconds of a pixel."""
    noise = np.random.default_rng(seed).integers(-100, 101, (HEIGHT, WIDTH, 2)) / 32
    return (pixel_grid(HEIGHT, WIDTH) + noise).astype(np.float32)


@pytest.mark.parametrize("side", [1, 3, 5])
def test_disagreement_is_a_mean_difference(side: int) -> None:
    luma, keyframe, positions = grey(0), grey(1), wandering(2)
    found = disagreement(luma, keyframe, positions, side)
    assert found.dtype == np.uint8
    # Both the look-up and the mean are rounded to whole grey levels.
    assert np.abs(found - twin_disagreement(luma, keyframe, positions, side)).max() <= 1.01


def test_the_place_itself_needs_no_look_up() -> None:
    luma, keyframe = grey(0), grey(1)
    np.testing.assert_array_equal(
        disagreement(luma, keyframe, None, 3), disagreement(luma, keyframe, pixel_grid(HEIGHT, WIDTH), 3)
    )


def test_the_best_guess_is_chosen_and_the_earlier_of_equals() -> None:
    luma, keyframe = grey(0), grey(1)
    candidates = [wandering(seed) for seed in range(3)]
    choice = Choice(luma, keyframe, candidates[0].copy(), 3)
    for guess in [*candidates[1:], candidates[0] + 0]:
        choice.offer(guess)
    differences = np.stack([disagreement(choice.luma, keyframe, guess, 3) for guess in candidates])
    best = differences.argmin(axis=0)  # the first of equals
    np.testing.assert_array_equal(choice.difference, differences.min(axis=0))
    y, x = np.indices((HEIGHT, WIDTH))
    np.testing.assert_array_equal(choice.positions, np.stack(candidates)[best, y, x])


def test_a_choice_leaves_what_it_is_offered_alone() -> None:
    offered = wandering(1)
    copy = offered.copy()
    Choice(grey(0), grey(1), wandering(0), 3).offer(offered)
    np.testing.assert_array_equal(offered, copy)


def test_mismatch_is_a_share() -> None:
    difference = np.full((10, 10), MISMATCH, np.uint8)
    difference[:3] += 1
    assert mismatch(difference) == pytest.approx(0.3)


@pytest.mark.parametrize(("gain", "level"), [(0.6, 1.0), (1.5, 1.0), (1.01, 1.01), (4.0, 2.0)])
def test_exposure_is_evened_out(gain: float, level: float) -> None:
    other = np.full((8, 8), 60, np.uint8)
    luma = np.full((8, 8), round(60 * gain), np.uint8)
    assert exposed_like(luma, other)[0, 0] == pytest.approx(60 * level, abs=1.5)


@pytest.mark.parametrize("size", [(20, 28), (80, 112), (37, 61)])
def test_resized_motion_is_the_same_motion(size: tuple[int, int]) -> None:
    constant = np.full((HEIGHT, WIDTH, 2), (2.5, -1.5), np.float32)
    found = resized(constant, *size)
    assert found.shape == (*size, 2)
    np.testing.assert_allclose(found[..., 0], 2.5 * size[1] / WIDTH, rtol=1e-6)
    np.testing.assert_allclose(found[..., 1], -1.5 * size[0] / HEIGHT, rtol=1e-6)


# The working picture


@pytest.mark.parametrize(
    ("frame", "working"),
    [
        ((720, 960), (360, 480)),
        ((1080, 1920), (360, 640)),
        ((2160, 3840), (360, 640)),
        ((360, 640), (360, 640)),
        ((144, 176), (144, 176)),
        ((1, 1), (64, 64)),
    ],
)
def test_working_sizes(frame: tuple[int, int], working: tuple[int, int]) -> None:
    assert working_size(*frame) == working
    assert working[0] * working[1] <= WORKING_PIXELS


@pytest.mark.parametrize(
    ("pixels", "tolerance"),
    [
        ("yuv420p", 1),
        ("yuvj420p", 1),
        ("yuv422p", 1),
        ("yuv444p", 1),
        ("nv12", 1),
        ("gray", 1),
        ("yuv420p10le", 1),
        ("yuv444p12le", 1),
        ("yuv420p10be", 1),
        ("yuyv422", 1),
        ("rgb24", 3),
        ("bgra", 3),
        ("gbrp", 3),
    ],
)
def test_luma_of_any_format(pixels: str, tolerance: int) -> None:
    picture = as_frame(texture(130, 190))
    luma = working_luma(picture.reformat(format=pixels))
    wanted = picture.reformat(format="gray").to_ndarray().astype(np.float64)
    if luma.shape == wanted.shape and pixels not in ("gray", "yuvj420p"):
        limited = picture.reformat(format="yuv420p").to_ndarray()[:130].astype(np.float64)
        # Formats without a luma plane are converted to grey, in either range.
        wanted = min((wanted, limited), key=lambda grey: float(np.abs(luma - grey).mean()))
    assert np.abs(luma - wanted).mean() <= tolerance


def test_luma_of_rows_with_padding() -> None:
    grey_picture = np.random.default_rng(0).integers(0, 256, (70, 67), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(grey_picture, format="gray")
    assert frame.planes[0].line_size > 67
    np.testing.assert_array_equal(working_luma(frame), grey_picture)


# Vectors


@pytest.mark.parametrize(("frame", "working"), [((40, 56), (20, 28)), ((45, 61), (15, 20)), ((33, 47), (64, 64))])
def test_pixel_vectors(frame: tuple[int, int], working: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    rows, columns = -(-frame[0] // 8), -(-frame[1] // 8)
    reference = rng.integers(-1, 1, (rows, columns)).astype(np.int8)
    blocks = BlockMotion(rng.normal(size=(rows, columns, 2)).astype(np.float32), reference, *frame)
    found = PixelVectors(frame, working).spread(blocks)
    for y in range(working[0]):
        for x in range(working[1]):
            row, column = int((y + 0.5) * frame[0] / working[0]) // 8, int((x + 0.5) * frame[1] / working[1]) // 8
            want = blocks.displacement[row, column] * (working[1] / frame[1], working[0] / frame[0])
            if reference[row, column] == INTRA:
                want = np.zeros(2)
            np.testing.assert_allclose(found[y, x], want, rtol=1e-5)


def test_share_of_intra_blocks() -> None:
    def blocks(reference: list[int]) -> BlockMotion:
        return BlockMotion(np.zeros((1, 4, 2), np.float32), np.array([reference], np.int8), 8, 32)

    assert ListedVectors(blocks([0, -1, -1, -1]), blocks([-1, 0, -1, -1])).intra_share == 0.5


def test_guesses_read_a_vector_in_every_way() -> None:
    grid = pixel_grid(HEIGHT, WIDTH)
    known = grid + np.float32(2)
    past, future = np.full_like(grid, 6), np.full_like(grid, -4)
    moves = [(guess - grid)[8:-8, 8:-8].reshape(-1, 2) for guess in guesses(grid, [known], past, future)]
    assert all(np.ptp(move) < 1e-4 for move in moves)
    # list 0, a third of it; list 1 backwards, and half of it
    assert [round(float(move[0, 0]), 3) for move in moves] == [8, 4, 6, 4]
    assert not list(guesses(grid, [known, known], None, None))


def test_guesses_at_several_references() -> None:
    grid = pixel_grid(HEIGHT, WIDTH)
    past = np.full_like(grid, 6)
    known = [grid + np.float32(shift) for shift in (2, 5, 9)]
    moves = [float((guess - grid)[HEIGHT // 2, WIDTH // 2, 0]) for guess in guesses(grid, known, past, None)]
    assert [round(move, 3) for move in moves] == [11, 15, 8, 4]
    # Two of five frames back to the keyframe: no other reading makes sense.
    (move,) = (guess - grid for guess in guesses(grid, known, past, None, part=2 / 5))
    np.testing.assert_allclose(move, 2.4, atol=1e-4)


@pytest.mark.parametrize("chaining", list(CHAINS))
def test_chains_reach_over_droppable_frames(chaining: Chaining) -> None:
    chain = CHAINS[chaining]()
    chain.restart(32, 40)

    def blocks(dx: float) -> BlockMotion:
        return BlockMotion(np.full((4, 5, 2), (dx, 0), np.float32), np.zeros((4, 5), np.int8), 32, 40)

    for turn in range(6):  # often enough to meet each buffer
        known = 3.0 * turn
        assert chain.advance(blocks(1), droppable=True)[16, 10, 0] == known + 1
        chain.adopt(np.full((32, 40, 2), 99, np.float32), droppable=True)
        assert chain.advance(blocks(3))[16, 2, 0] == known + 3


# State


def test_a_tracker_needs_a_keyframe_of_the_same_size() -> None:
    tracker = Tracker()
    luma = np.zeros((64, 64), np.uint8)
    with pytest.raises(SequenceError, match="64x64 pixels does not follow a keyframe"):
        tracker.follow(luma, None)
    tracker.restart(luma, 64, 64)
    with pytest.raises(SequenceError, match="restart the tracker"):
        tracker.follow(np.zeros((64, 80), np.uint8), None)
    with pytest.raises(SequenceError, match="restart the tracker"):
        tracker.adopt(np.zeros((64, 80), np.uint8), np.zeros((64, 80, 2), np.float32))


def test_an_adopted_motion_is_gone_on_from() -> None:
    pictures = [picture[..., 0].copy() for picture in panning(3, 96, 128, 4, 2)]
    tracker = Tracker()
    tracker.restart(pictures[0], 96, 128)
    right = tracker.adopt(pictures[1], np.full((96, 128, 2), (4, 2), np.float32))
    tracker.restart(pictures[0], 96, 128)
    wrong = tracker.adopt(pictures[1], np.full((96, 128, 2), (-14, 2), np.float32))
    assert right < 0.05 < 0.5 < wrong
    tracker.restart(pictures[0], 96, 128)
    tracker.adopt(pictures[1], np.full((96, 128, 2), (4, 2), np.float32))
    motion = tracker.follow(pictures[2], None).motion[8:-16, 8:-24]
    assert np.abs(motion - (8, 4)).mean() < 0.3


@pytest.mark.parametrize("chain", [PublishedChain(), SubpixelChain()])
def test_a_chain_goes_on_from_an_adopted_motion(chain: MotionChain) -> None:
    still = BlockMotion(np.zeros((5, 7, 2), np.float32), np.zeros((5, 7), np.int8), HEIGHT, WIDTH)
    with pytest.raises(SequenceError, match="restart the chain"):
        chain.adopt(np.zeros((HEIGHT, WIDTH, 2), np.float32))
    chain.restart(HEIGHT, WIDTH)
    chain.adopt(np.full((HEIGHT, WIDTH, 2), (2, -3), np.float32))
    assert (chain.advance(still) == (2, -3)).all()
    with pytest.raises(SequenceError, match="restart the chain"):
        chain.adopt(np.zeros((HEIGHT, WIDTH + 1, 2), np.float32))
