"""Temporal consistency, on a panned picture whose motion is known."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from arseg_edge.evaluation.consistency import consistent_pixels, motion_between
from arseg_edge.runtime.source.decoded_frame import DecodedFrame

PAN = 6
"""Pixels to the right from one frame to the next: what is at x was at x - PAN in the frame before."""
SIZE = (120, 160)


def decoded(picture: NDArray[np.uint8], index: int) -> DecodedFrame:
    return DecodedFrame(index, index, Fraction(1, 25), picture)


def panned(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return two windows of a wide picture, the one before and the one after the pan."""
    width = SIZE[1]
    return picture[:, PAN : PAN + width], picture[:, :width]


def wide_picture() -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 256, (SIZE[0], SIZE[1] + PAN, 3), np.uint8)
    return np.asarray(cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX), np.uint8)


def wide_labels() -> NDArray[np.uint8]:
    """Vertical stripes, 20 pixels wide."""
    columns = np.arange(SIZE[1] + PAN) // 20 % 2
    return np.broadcast_to(columns.astype(np.uint8), (SIZE[0], SIZE[1] + PAN)).copy()


def test_motion_to_the_frame_before() -> None:
    before, after = (decoded(picture, index) for index, picture in enumerate(panned(wide_picture())))
    motion = motion_between(after, before)
    assert motion is not None
    # Away from the border, where the content came into view.
    inner = motion[10:-10, 20:-20]
    assert abs(np.median(inner[..., 0]) + PAN) < 0.2
    assert (np.abs(inner - (-PAN, 0)).max(-1) < 1).mean() > 0.95


def test_no_motion_between_frames_of_two_sizes() -> None:
    picture = wide_picture()
    assert motion_between(decoded(picture, 1), decoded(picture[:100], 0)) is None


def test_labels_that_move_along_are_consistent_and_labels_that_stay_are_not() -> None:
    motion = np.zeros((*SIZE, 2), np.float32)
    motion[..., 0] = -PAN
    before, after = panned(wide_labels())
    # Where the frame before did not show it, its border stands in.
    columns = np.maximum(np.arange(SIZE[1]) - PAN, 0)
    agreeing = int((after == before[:, columns]).sum())
    assert consistent_pixels(after, before, motion) == (agreeing, after.size)
    assert agreeing == after.size - SIZE[0] * (after[0, :PAN] != before[0, 0]).sum()
    # The same labels at the same places: each edge of a stripe leaves PAN columns behind.
    staying, compared = consistent_pixels(after, after, motion)
    assert compared == after.size
    assert staying == int((after == after[:, columns]).sum()) < agreeing


def test_only_labelled_pixels_are_compared() -> None:
    still = np.zeros((*SIZE, 2), np.float32)
    labels = wide_labels()[:, : SIZE[1]]
    truth = np.zeros(SIZE, np.uint8)
    truth[:, :30] = 255
    assert consistent_pixels(labels, labels, still, truth) == (120 * 130, 120 * 130)
    before = labels.copy()
    before[:5] = 255
    assert consistent_pixels(labels, before, still, truth) == (115 * 130, 115 * 130)
    assert consistent_pixels(labels, 1 - labels, still, truth) == (0, 120 * 130)
