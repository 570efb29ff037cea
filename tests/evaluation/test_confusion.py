"""Confusion matrices and scores, against sets of pixels counted one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from arseg_edge.evaluation.confusion import class_iou, confusion_matrix, mean_iou

CLASSES = 5


def naive_confusion(truth: NDArray[np.uint8], labels: NDArray[np.uint8]) -> list[list[int]]:
    counts = [[0] * CLASSES for _ in range(CLASSES)]
    for true, found in zip(truth.ravel().tolist(), labels.ravel().tolist(), strict=True):
        if true != 255:
            counts[true][found] += 1
    return counts


def naive_iou(truth: NDArray[np.uint8], labels: NDArray[np.uint8]) -> dict[int, float]:
    """Return the IoU of the classes in the truth, from sets of pixel positions."""
    places = [place for place in np.ndindex(truth.shape) if truth[place] != 255]
    scores = {}
    for number in range(CLASSES):
        true = {place for place in places if truth[place] == number}
        found = {place for place in places if labels[place] == number}
        if true:
            scores[number] = len(true & found) / len(true | found)
    return scores


def random_labels(seed: int, missing: int | None = None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return truth with ignored pixels, without one class, and labels that are right at every second pixel or so."""
    rng = np.random.default_rng(seed)
    known = [number for number in range(CLASSES) if number != missing]
    truth = rng.choice(np.array([*known, 255], np.uint8), (23, 31))
    labels = np.where(rng.random(truth.shape) < 0.5, truth, rng.integers(0, CLASSES, truth.shape)).astype(np.uint8)
    labels[truth == 255] = rng.integers(0, CLASSES, (truth == 255).sum())
    return truth, labels


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("missing", [None, 0, 4])
def test_against_counting_one_by_one(seed: int, missing: int | None) -> None:
    truth, labels = random_labels(seed, missing)
    confusion = confusion_matrix(truth, labels, CLASSES)
    assert confusion.tolist() == naive_confusion(truth, labels)
    expected = naive_iou(truth, labels)
    assert missing not in expected
    iou = class_iou(confusion)
    assert {number: iou[number] for number in expected} == pytest.approx(expected)
    assert np.isnan(iou).sum() == CLASSES - len(expected)
    assert float(mean_iou(confusion)) == pytest.approx(sum(expected.values()) / len(expected))


def test_a_class_that_is_only_predicted_costs_the_class_that_is_there() -> None:
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    # Half of class 0 is found; the rest goes to a class that the truth does not have.
    confusion = confusion_matrix(truth, np.array([[0, 2, 1, 1]], np.uint8), 3)
    np.testing.assert_array_equal(class_iou(confusion), [0.5, 1.0, np.nan])
    assert float(mean_iou(confusion)) == 0.75


def test_many_at_once() -> None:
    pairs = [random_labels(seed) for seed in range(4)]
    stack = np.stack([confusion_matrix(*pair, CLASSES) for pair in pairs])
    assert mean_iou(stack).shape == (4,)
    assert mean_iou(stack)[2] == mean_iou(stack[2])


def test_nothing_labelled_has_no_score() -> None:
    truth = np.full((4, 4), 255, np.uint8)
    confusion = confusion_matrix(truth, np.zeros_like(truth), CLASSES)
    assert confusion.sum() == 0
    assert math.isnan(mean_iou(confusion))


@pytest.mark.parametrize(
    ("truth", "labels", "said"),
    [([[0, 1]], [[0], [1]], "alike"), ([[0, 5]], [[0, 0]], "value of 5"), ([[0, 0]], [[0, 7]], "value of 7")],
)
def test_what_cannot_be_counted(truth: list[list[int]], labels: list[list[int]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        confusion_matrix(np.array(truth, np.uint8), np.array(labels, np.uint8), CLASSES)
