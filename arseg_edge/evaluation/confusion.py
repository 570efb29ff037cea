"""Confusion matrices, and the scores that follow from them.

mIoU here is the mean over the classes that occur in the truth. A class that is only predicted has no score of its own;
where it is predicted, it is missing from the class that the truth has there. So a network with an output that the truth
never uses (such as CamVid's "unlabelled") is measured by the same classes as one without.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from arseg_edge.datasets.sequence import IGNORED

Confusion = NDArray[np.int64]
"""[..., n, n]: pixels by true class (rows) and found class (columns)."""


def confusion_matrix(truth: NDArray[np.uint8], labels: NDArray[np.uint8], classes: int) -> Confusion:
    """Count pixels by true and found class, int64 [classes, classes]; where the truth is ``IGNORED``, none.

    ``truth`` and ``labels`` are uint8 of one shape.

    Raises:
        ValueError: shapes that differ, or a value that is no class.
    """
    if truth.shape != labels.shape:
        raise ValueError(f"truth is {list(truth.shape)} and labels are {list(labels.shape)}: they must be alike")
    counted = truth != IGNORED
    rows, columns = truth[counted].astype(np.int64), labels[counted]
    if rows.size and max(int(rows.max()), int(columns.max())) >= classes:
        raise ValueError(f"a value of {max(int(rows.max()), int(columns.max()))} among {classes} classes")
    return np.bincount(rows * classes + columns, minlength=classes * classes).reshape(classes, classes)


def class_iou(confusion: Confusion) -> NDArray[np.float64]:
    """Return intersection over union of each class, 0 to 1, [..., n]; NaN for a class that the truth does not have."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, found = confusion.sum(-1), confusion.sum(-2)
    return np.where(true > 0, hits / np.maximum(true + found - hits, 1), np.nan)


def mean_iou(confusion: Confusion) -> NDArray[np.float64]:
    """Return the mean IoU over the classes that occur in the truth, 0 to 1, [...]; NaN where none does."""
    return mean_of_known(class_iou(confusion))


def mean_of_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the last axis, NaN left out; NaN where there is nothing else."""
    known = ~np.isnan(values)
    sums: NDArray[Any] = np.where(known, values, 0.0).sum(-1)
    return np.asarray(np.divide(sums, known.sum(-1), out=np.full_like(sums, np.nan), where=known.any(-1)))
