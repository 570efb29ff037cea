"""The plain layout, for data of one's own: videos, folders of images, or stills, with labels for any of the frames.

::

    dataset.yaml             the classes (``description.py``)
    clips/north.mp4          a video
    clips/south/0001.jpg …   a folder of images, in natural order
    clips/west.png           a still
    labels/north/000012.png  the label of frame 12 of the video, counted from 0
    labels/south/0007.png    the label of the image of that name
    labels/west.png          the label of the still

Labels are PNGs of the size of the frame. A grey one holds the number of the class in the list of ``dataset.yaml``,
from 0, or what its ``values`` say (a mask of 0 and 255: ``values: {0: background, 255: person}``); in any other, one
with a palette as well, the colours count.

A whole data set, made and opened:

>>> import cv2, numpy as np, tempfile
>>> from pathlib import Path
>>> root = Path(tempfile.mkdtemp())
>>> for folder in ("clips/yard", "labels/yard"):
...     (root / folder).mkdir(parents=True)
>>> for index in range(5):
...     _ = cv2.imwrite(str(root / f"clips/yard/{index:06d}.png"), np.full((48, 64, 3), 10 * index, np.uint8))
>>> _ = cv2.imwrite(str(root / "labels/yard/000003.png"), np.eye(48, 64, dtype=np.uint8))
>>> _ = (root / "dataset.yaml").write_text("classes: {ground: [128, 64, 128], plant: [0, 100, 0]}")
>>> from arseg_edge.datasets import open_dataset
>>> dataset = open_dataset(root)
>>> dataset.classes.names, [(clip.name, len(clip.frames), *clip.labels) for clip in dataset.sequences]
(('ground', 'plant'), [('yard', 5, 3)])
>>> int(dataset.read_labels(dataset.sequences[0].labels[3]).sum())
48
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from arseg_edge.datasets.description import FILE, Description, read_description
from arseg_edge.datasets.folders import images_by_stem, listing
from arseg_edge.datasets.selection import matching
from arseg_edge.datasets.sequence import IGNORED, Dataset, LabelledSequence
from arseg_edge.errors import DatasetError, UsageError
from arseg_edge.runtime.source.open_source import open_source
from arseg_edge.runtime.source.picture_files import IMAGE_SUFFIXES


def is_plain(path: Path) -> bool:
    """Whether a folder has the plain layout."""
    return (path / FILE).is_file()


def splits(path: Path) -> tuple[str, ...]:
    """Return the names of the splits; none where the data set has no parts.

    Raises:
        DatasetError: ``dataset.yaml`` is broken.
    """
    return tuple(read_description(path / FILE).splits)


def open_plain(path: Path, split: str | None) -> Dataset:
    """Return one split of a folder of the plain layout, or, with None, all of it.

    Raises:
        DatasetError: a broken ``dataset.yaml``, a clip without labels, labels without a clip or for no frame of it.
        SourceError: a video cannot be read, or (CodecError) nothing here decodes it.
    """
    description = read_description(path / FILE)
    clips = _by_name(path / "clips")
    _check_labels(path / "labels", clips)
    wanted = clips.keys() if split is None else _members(path, description, split, clips)
    return Dataset(
        name=f"{path.resolve().name} {split or ''}".rstrip(),
        classes=description.classes,
        sequences=tuple(_sequence(name, clips[name], path / "labels", description) for name in clips if name in wanted),
        label_values=description.label_values,
        ignored_values=description.ignored_values,
        assumes_ignored=description.assumes_ignored,
        label_colours={
            **{colour: index for index, colour in enumerate(description.classes.colours)},
            **dict.fromkeys(description.ignored_colours, IGNORED),
        },
    )


def _by_name(folder: Path) -> dict[str, Path]:
    """The clips by name, in natural order."""
    clips: dict[str, Path] = {}
    for path in listing(folder):
        name = path.name if path.is_dir() else path.stem
        if name in clips:
            raise DatasetError(f"{path}: {clips[name].name} is a clip of the same name; rename one of the two")
        clips[name] = path
    if not clips:
        raise DatasetError(f"{folder}: no clips in it; add videos, folders of images, or stills")
    return clips


def _check_labels(folder: Path, clips: dict[str, Path]) -> None:
    """Every label belongs to a clip."""
    for path in listing(folder):
        if (path.name if path.is_dir() else path.stem) not in clips:
            raise DatasetError(f"{path}: no clip of this name in {folder.with_name('clips')}; add it or remove this")


def _members(path: Path, description: Description, split: str, clips: dict[str, Path]) -> frozenset[str]:
    """The clips of a split, none of which is in another one."""
    members: dict[str, frozenset[str]] = {}
    for name, patterns in description.splits.items():
        try:
            members[name] = frozenset().union(*(matching(clips, pattern) for pattern in patterns))
        except UsageError as error:
            raise DatasetError(f"{path / FILE}: splits: {name}: {error}") from None
    for other, names in members.items():
        if other != split and (both := sorted(names & members[split])):
            raise DatasetError(f"{path / FILE}: clip {both[0]!r} is in splits {split!r} and {other!r}; leave it in one")
    return members[split]


def _sequence(name: str, clip: Path, labels_in: Path, description: Description) -> LabelledSequence:
    if clip.is_dir():
        return _image_folder(name, clip, labels_in / name, description.frame_rate)
    if clip.suffix.lower() in IMAGE_SUFFIXES:
        label = labels_in / f"{name}.png"
        if not label.is_file():
            raise DatasetError(f"{clip}: no label {label}; add it or remove the still")
        return LabelledSequence(name, (clip,), {0: label}, description.frame_rate)
    return _video(name, clip, labels_in / name, description.frame_rate)


def _image_folder(name: str, clip: Path, labels_in: Path, frame_rate: Fraction) -> LabelledSequence:
    images = images_by_stem(clip)
    index = {stem: i for i, stem in enumerate(images)}
    labels = _labels(clip, labels_in)
    for stem, label in labels.items():
        if stem not in index:
            raise DatasetError(f"{label}: no image of this name in {clip}; rename or remove it")
    return LabelledSequence(
        name, tuple(images.values()), {index[stem]: label for stem, label in labels.items()}, frame_rate
    )


def _video(name: str, clip: Path, labels_in: Path, frame_rate: Fraction) -> LabelledSequence:
    labels: dict[int, Path] = {}
    for stem, label in _labels(clip, labels_in).items():
        if not stem.isdecimal():
            raise DatasetError(f"{label}: not named after the number of a frame, like 000012.png; rename it")
        if (number := int(stem)) in labels:
            raise DatasetError(f"{label}: {labels[number].name} labels the same frame; remove one of the two")
        labels[number] = label
    with open_source(clip) as source:
        return LabelledSequence(name, clip, labels, source.frame_rate or frame_rate)


def _labels(clip: Path, labels_in: Path) -> dict[str, Path]:
    labels = images_by_stem(labels_in) if labels_in.is_dir() else {}
    if not labels:
        raise DatasetError(f"{clip}: no labels in {labels_in}; add one at least or remove the clip")
    return labels
