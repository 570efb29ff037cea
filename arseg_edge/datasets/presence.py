"""Which classes the labels of a data set have at all, looked at before hours are spent on it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from arseg_edge.datasets.sequence import IGNORED, Dataset
from arseg_edge.errors import DatasetError

MUCH: Final = 0.01
"""The share of the pixels from which on a value that is ignored unasked may well be a class."""
_AT_ONCE: Final = 16


class AbsentClassWarning(UserWarning):
    """A class without a pixel: nothing can be learnt of it, and no score is its own."""


def absent_classes(dataset: Dataset) -> tuple[str, ...]:
    """Return the names of the classes that no pixel of the labels has.

    Labels are read until every class was met, which is soon, as a rule.

    Raises:
        DatasetError: some class has no pixel, and ``MUCH`` of the pixels have the value 255, which is ignored though
            nothing says so: in masks of 0 and 255 it is the other class. And as ``Dataset.read_labels`` does.
    """
    pixels = np.zeros(256, np.int64)
    for counted in _counts(dataset):
        pixels += counted
        if pixels[: len(dataset.classes.names)].all():
            return ()
    absent = tuple(name for name, count in zip(dataset.classes.names, pixels, strict=False) if not count)
    share = pixels[IGNORED] / pixels.sum()
    if dataset.assumes_ignored and share >= MUCH:
        shown = ", ".join(f"{value}: {name}" for value, name in _assumed_values(dataset, absent))
        raise DatasetError(
            f"{dataset.name}: no pixel is {_named(absent)}, while {100 * share:.1f} % have the value {IGNORED}, which "
            f"counts as ignored where nothing is said: set values: {{{shown}}} in dataset.yaml if it is a class, or "
            f"ignored: [{IGNORED}] if it is none"
        )
    return absent


def warn_of_absent(dataset: Dataset, where: str) -> tuple[str, ...]:
    """Return ``absent_classes``, after a warning that names them, if there are any."""
    absent = absent_classes(dataset)
    if absent:
        warnings.warn(f"{dataset.name}: no pixel of {where} is {_named(absent)}", AbsentClassWarning, stacklevel=2)
    return absent


def _counts(dataset: Dataset) -> Iterator[np.ndarray]:
    """Yield int64 [256], the pixels of each class and of ``IGNORED``, of one label after the other."""

    def count(path: Path) -> np.ndarray:
        return np.bincount(dataset.read_labels(path).ravel(), minlength=256)

    paths = [path for sequence in dataset.sequences for path in sequence.labels.values()]
    with ThreadPoolExecutor() as pool:
        for first in range(0, len(paths), _AT_ONCE):
            yield from pool.map(count, paths[first : first + _AT_ONCE])


def _assumed_values(dataset: Dataset, absent: tuple[str, ...]) -> list[tuple[int, str]]:
    """Return the values of the classes that have pixels, and 255 for the first of those that have none."""
    names = dataset.classes.names
    known = [(value, names[index]) for value, index in sorted(dataset.label_values.items())]
    return [(value, name) for value, name in known if name not in absent] + [(IGNORED, absent[0])]


def _named(classes: tuple[str, ...]) -> str:
    return ", ".join(repr(name) for name in classes[:-1]) + (" or " if classes[1:] else "") + repr(classes[-1])
