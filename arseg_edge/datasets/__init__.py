"""Images and videos with labels, in the folder layouts that they come in."""

from __future__ import annotations

import os
from pathlib import Path

from arseg_edge.datasets import camvid, cityscapes, plain
from arseg_edge.datasets.check import check_dataset
from arseg_edge.datasets.presence import AbsentClassWarning, absent_classes, warn_of_absent
from arseg_edge.datasets.selection import hold_out, without
from arseg_edge.datasets.sequence import IGNORED, Dataset, LabelledSequence, read_image
from arseg_edge.errors import DatasetError

__all__ = [
    "IGNORED",
    "AbsentClassWarning",
    "Dataset",
    "LabelledSequence",
    "absent_classes",
    "hold_out",
    "open_dataset",
    "read_image",
    "warn_of_absent",
    "without",
]


def open_dataset(path: str | os.PathLike[str], split: str | None = None) -> Dataset:
    """Open one split of a data set: CamVid, Cityscapes or the plain layout, recognised by the folders.

    Args:
        path: the folder; ``camvid.py``, ``cityscapes.py`` and ``plain.py`` say what it holds.
        split: which part; None where there is only one.

    Raises:
        DatasetError: no such folder, no known layout, no such split, or images and labels that do not fit together.
        SourceError: a video cannot be read, or (CodecError) nothing here decodes it.
        UsageError: PyYAML is not installed, which the plain layout needs.
    """
    path = Path(path)
    if not path.is_dir():
        raise DatasetError(f"{path}: no such folder; give that of a data set")
    if plain.is_plain(path):
        available = plain.splits(path)
        dataset = plain.open_plain(path, _choose(path, available, split) if available or split else None)
    elif available := camvid.splits(path):
        dataset = camvid.open_camvid(path, _choose(path, available, split))
    elif available := cityscapes.splits(path):
        dataset = cityscapes.open_cityscapes(path, _choose(path, available, split))
    else:
        raise DatasetError(
            f"{path}: no data set of a known layout: it needs a dataset.yaml with clips/ and labels/, train/ with "
            "trainannot/ or train_labels/ (CamVid), or gtFine/train/ (Cityscapes)"
        )
    check_dataset(dataset)
    return dataset


def _choose(path: Path, available: tuple[str, ...], split: str | None) -> str:
    if split is None and len(available) == 1:
        return available[0]
    if split is None:
        raise DatasetError(f"{path}: it has the splits {', '.join(available)}; choose one")
    if split not in available:
        hint = f"choose {' or '.join(available)}" if available else "leave it out"
        raise DatasetError(f"{path}: no split {split!r} in it; {hint}")
    return split
