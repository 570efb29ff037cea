"""What is counted for one way of segmenting, by the distance from the keyframe, and the scores of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arseg_edge.evaluation.confusion import Confusion, class_iou, confusion_matrix, mean_iou, mean_of_known
from arseg_edge.evaluation.predictor import Labels


class Scores:
    """Confusion and temporal consistency at each distance 0 … ``interval`` − 1; all scores in percent."""

    def __init__(self, interval: int, classes: int) -> None:
        self.confusion: Confusion = np.zeros((interval, classes, classes), np.int64)
        self.consistent = np.zeros(interval, np.int64)
        """Pixels that keep their label, and those compared (``consistency.py``)."""
        self.compared = np.zeros(interval, np.int64)

    def count(self, distance: int, truth: NDArray[np.uint8], labels: Labels) -> None:
        """Take the labels of one frame; both uint8 [H, W]."""
        self.confusion[distance] += confusion_matrix(truth, labels, self.confusion.shape[-1])

    def count_consistency(self, distance: int, counts: tuple[int, int]) -> None:
        """Take one frame's pixels that keep their label, and those compared."""
        self.consistent[distance] += counts[0]
        self.compared[distance] += counts[1]

    @property
    def by_distance(self) -> NDArray[np.float64]:
        """The mIoU of all frames at each distance; NaN where there were none."""
        return 100 * mean_iou(self.confusion)

    @property
    def mean(self) -> float:
        """The mean of the mIoU at distances 0, 1, … (the paper's figure)."""
        return float(mean_of_known(self.by_distance))

    @property
    def mean_after_keyframe(self) -> float:
        """The same from distance 1 on: the frames that are no keyframes."""
        return float(mean_of_known(self.by_distance[1:]))

    @property
    def together(self) -> float:
        """The mIoU of all frames at once."""
        return float(100 * mean_iou(self.confusion.sum(0)))

    @property
    def by_class(self) -> NDArray[np.float64]:
        """The IoU of each class over all frames at once; NaN for one that the truth does not have."""
        return 100 * class_iou(self.confusion.sum(0))

    @property
    def agreement_by_distance(self) -> NDArray[np.float64]:
        """The share of pixels with the right class at each distance; NaN where there were no frames."""
        right, pixels = np.trace(self.confusion, axis1=1, axis2=2), self.pixels
        return np.where(pixels > 0, 100 * right / np.maximum(pixels, 1), np.nan)

    @property
    def agreement(self) -> float:
        """The share of pixels with the right class over all frames at once; NaN where there were none."""
        right, pixels = int(np.trace(self.confusion.sum(0))), int(self.pixels.sum())
        return 100 * right / pixels if pixels else math.nan

    def first(self, distances: int) -> Scores:
        """Return the scores of the first distances alone."""
        part = Scores(0, self.confusion.shape[-1])
        part.confusion = self.confusion[:distances]
        part.consistent, part.compared = self.consistent[:distances], self.compared[:distances]
        return part

    @property
    def consistency(self) -> float:
        """The share of pixels that keep their label from frame to frame; NaN where none could be compared."""
        compared = int(self.compared.sum())
        return 100 * int(self.consistent.sum()) / compared if compared else math.nan

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Labelled pixels counted at each distance."""
        return np.asarray(self.confusion.sum((1, 2)))

    def as_dict(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Return the scores for ``--json``."""
        consistency = np.where(self.compared > 0, 100 * self.consistent / np.maximum(self.compared, 1), np.nan)
        return {
            "miou_by_distance": rounded(self.by_distance),
            "miou_mean": round(self.mean, 3),
            "miou_mean_after_keyframe": round(self.mean_after_keyframe, 3),
            "miou_together": round(self.together, 3),
            "iou_by_class": dict(zip(classes, rounded(self.by_class), strict=True)),
            "consistency": round(self.consistency, 3),
            "consistency_by_distance": rounded(consistency),
        }


def rounded(values: NDArray[np.float64]) -> list[float]:
    """Return scores as a report gives them, to a thousandth of a percent."""
    return [round(value, 3) for value in values.tolist()]
