"""Cityscapes (Cordts et al., "The Cityscapes dataset for semantic urban scene understanding", CVPR 2016).

The folders are those of its downloads, with the splits ``train`` and ``val`` (the labels of ``test`` are not public)::

    gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png           or _labelTrainIds.png
    leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png
    leftImg8bit_sequence/train/aachen/aachen_000000_000000_leftImg8bit.png … _000029_leftImg8bit.png

With the third, a sequence is what the camera saw up to the labelled frame, 20 frames at 17 fps, and the second is not
needed; without it, every labelled image is a still. The 34 ids are reduced to the 19 classes of the benchmark.
"""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Final

from arseg_edge.datasets.folders import check_pairs, images_by_stem, listing
from arseg_edge.datasets.sequence import Dataset, LabelledSequence
from arseg_edge.errors import DatasetError
from arseg_edge.palette import CITYSCAPES

SPLITS: Final = ("train", "val")
FRAME_RATE: Final = Fraction(17)
LABELLED_INDEX: Final = 19
"""The labelled frame is the 20th of a snippet of 30."""

# The ids of the classes in the order of their training ids, from the data set's own scripts (labels.py).
CLASS_IDS: Final = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
IDS: Final = range(34)

_NAME: Final = re.compile(r"(?P<snippet>.+)_(?P<number>\d{6})")


def splits(path: Path) -> tuple[str, ...]:
    """Return the splits of a Cityscapes folder; none where it is not one."""
    return tuple(split for split in SPLITS if (path / "gtFine" / split).is_dir())


def open_cityscapes(path: Path, split: str) -> Dataset:
    """Return one split of a Cityscapes folder.

    Raises:
        DatasetError: an image without label or the other way round, a missing frame, an empty split.
    """
    labels_in = path / "gtFine" / split
    labels = _by_city(labels_in, ("_gtFine_labelIds",))
    training_ids = not labels
    if training_ids:
        labels = _by_city(labels_in, ("_gtFine_labelTrainIds",))
    snippets = path / "leftImg8bit_sequence" / split
    stills = path / "leftImg8bit" / split
    if not labels:
        raise DatasetError(f"{labels_in}: no labels in it (*_gtFine_labelIds.png); add them or choose another split")
    if snippets.is_dir():
        sequences = [_snippet(name, label, snippets) for name, label in labels.items()]
    else:
        images = _by_city(stills, ("_gtFine_leftImg8bit", "_leftImg8bit"))
        check_pairs(images, labels, stills, labels_in)
        sequences = [LabelledSequence(name, (images[name],), {0: labels[name]}, FRAME_RATE) for name in images]
    class_ids = range(len(CLASS_IDS)) if training_ids else CLASS_IDS
    return Dataset(
        name=f"Cityscapes {split}",
        classes=CITYSCAPES,
        sequences=tuple(sequences),
        label_values={number: index for index, number in enumerate(class_ids)},
        ignored_values=frozenset({255} if training_ids else set(IDS) - set(CLASS_IDS)),
    )


def _by_city(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """The images in the folders of the cities, by name."""
    found: dict[str, Path] = {}
    for city in listing(folder):
        if not city.is_dir():
            continue
        for name, path in images_by_stem(city, endings).items():
            if name in found:
                raise DatasetError(f"{path}: {found[name]} has the same name; remove one of the two")
            found[name] = path
    return found


def _snippet(name: str, label: Path, folder: Path) -> LabelledSequence:
    """The frames of a snippet up to the labelled one."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise DatasetError(f"{label}: not a Cityscapes name (city_snippet_frame_…); rename or remove it")
    numbers = range(max(0, int(match["number"]) - LABELLED_INDEX), int(match["number"]) + 1)
    files = folder / label.parent.name
    frames = tuple(files / f"{match['snippet']}_{number:06d}_leftImg8bit.png" for number in numbers)
    missing = next((frame for frame in frames if not frame.is_file()), None)
    if missing is not None:
        raise DatasetError(f"{missing}: no such file, but {label} needs it; add it or remove the label")
    return LabelledSequence(name, frames, {len(frames) - 1: label}, FRAME_RATE)
