"""CamVid (Brostow, Fauqueur, Cipolla, Pattern Recognition Letters 2009) as it is found on disks.

Two folder layouts, with the splits ``train``, ``val`` and ``test``:

* the SegNet tutorial's: ``train/X.png`` with ``trainannot/X.png``, grey, the value is the class, 11 unlabelled;
* the AR-Seg authors': ``train/X.png`` with ``train_labels_with_ignored/X_L.png``, grey, the value is the class, 11
  void, 255 all other of CamVid's 32 classes. Where that folder is missing, ``train_labels/X_L.png`` in CamVid's own
  colours is read with the same meaning. (Both may do without the ``_L``.)

Images are named by drive and frame of the 30 Hz recording: ``0016E5_07959``, ``Seq05VD_f00030``. Where the numbers of
one drive and split rise by the same one or two, a dozen times at least, the images are a clip with a label for every
frame (``0016E5_07959`` to ``0016E5_08159``: 101 frames at 15 fps). All others are stills, a second apart as a rule;
shorter runs, which a split drawn at random leaves, as well. A still knows which one its drive passed before it.

The authors decode the recorded drives too. With these as ``frames/DRIVE/DRIVE_N.png`` (N from 000001) beside the
splits, a sequence is the recording itself at 30 fps: from up to 29 frames before a labelled still, or before the first
image of a run of any length, to its last image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Final

from arseg_edge.datasets.folders import check_pairs, images_by_stem
from arseg_edge.datasets.sequence import IGNORED, Dataset, LabelledSequence
from arseg_edge.errors import DatasetError
from arseg_edge.palette import CAMVID_11, Colour

SPLITS: Final = ("train", "val", "test")
RECORDED_RATE: Final = Fraction(30)
STILL_RATE: Final = Fraction(15)
"""Nominal: that of the labelled clip, so that a bit rate means the same for both."""
LARGEST_STEP: Final = 2
"""Recorded frames from one image of a clip to the next: every second one, 15 fps, is CamVid's densest."""
SHORTEST_CLIP: Final = 12
"""Images; the paper's keyframe interval."""
BEFORE: Final = 29
"""Frames of the recording before the first labelled one: with it, a second."""

LABEL_FOLDERS: Final = ("annot", "_labels_with_ignored", "_labels")
"""What the name of a split's label folder has after the split."""

# label_colors.txt of the data set: what the eleven classes leave out is ignored, as the AR-Seg authors do.
OTHER_COLOURS: Final[tuple[Colour, ...]] = (
    (64, 128, 64),  # animal
    (192, 0, 128),  # archway
    (0, 128, 64),  # bridge
    (64, 0, 192),  # cart, luggage, pram
    (192, 128, 64),  # child
    (128, 0, 192),  # lane markings, driving
    (192, 0, 64),  # lane markings, not driving
    (128, 128, 64),  # miscellaneous text
    (192, 0, 192),  # motorcycle, scooter
    (128, 64, 64),  # other moving
    (64, 192, 128),  # parking block
    (128, 128, 192),  # road shoulder
    (64, 128, 192),  # SUV, pickup truck
    (0, 0, 64),  # traffic cone
    (0, 64, 64),  # traffic light
    (192, 64, 128),  # train
    (192, 128, 192),  # truck, bus
    (64, 0, 64),  # tunnel
    (192, 192, 0),  # miscellaneous vegetation
    (0, 0, 0),  # void
    (64, 192, 0),  # wall
)

# The number of the first labelled frame in the data set's names, and in the authors' decoding of the drive.
FIRST_FRAMES: Final = {"0001TP": (6690, 31), "0006R0": (930, 932), "0016E5": (390, 392), "Seq05VD": (30, 32)}

_NAME: Final = re.compile(r"(?P<drive>[^_]+)_f?(?P<number>\d+)")


@dataclass(frozen=True)
class _Image:
    drive: str
    number: int
    path: Path
    label: Path


def splits(path: Path) -> tuple[str, ...]:
    """Return the splits of a CamVid folder; none where it is not one."""
    return tuple(split for split in SPLITS if (path / split).is_dir() and _label_folder(path, split) is not None)


def open_camvid(path: Path, split: str) -> Dataset:
    """Return one split of a CamVid folder of either layout.

    Raises:
        DatasetError: an image without label or the other way round, an empty split, a file of another naming.
    """
    labels_in = _label_folder(path, split)
    assert labels_in is not None, "the layout was recognised by it"
    images, labels = images_by_stem(path / split), images_by_stem(labels_in, ("_L", ""))
    check_pairs(images, labels, path / split, labels_in)
    in_order = sorted((_named(images[stem], labels[stem]) for stem in images), key=lambda i: (i.drive, i.number))
    runs = _runs(in_order)
    before = dict(zip(in_order[1:], in_order, strict=False))
    sequences = partial(_recorded, path / "frames") if (path / "frames").is_dir() else partial(_labelled, before)
    return Dataset(
        name=f"CamVid {split}",
        classes=CAMVID_11,
        sequences=tuple(sequence for run in runs for sequence in sequences(run)),
        label_values={index: index for index in range(len(CAMVID_11.names))},
        ignored_values=frozenset({11, 255}),
        label_colours={
            **dict.fromkeys(OTHER_COLOURS, IGNORED),
            **{colour: index for index, colour in enumerate(CAMVID_11.colours)},
        },
    )


def _label_folder(path: Path, split: str) -> Path | None:
    folders = (path / f"{split}{ending}" for ending in LABEL_FOLDERS)
    return next((folder for folder in folders if folder.is_dir()), None)


def _named(path: Path, label: Path) -> _Image:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise DatasetError(f"{path}: not a CamVid name (drive_frame, like 0016E5_07959.png); rename or remove it")
    return _Image(match["drive"], int(match["number"]), path, label)


def _runs(images: list[_Image]) -> Iterator[list[_Image]]:
    """Part sorted images wherever the drive or the step changes, or the step is too large."""
    run = images[:1]
    for image in images[1:]:
        gap = image.number - run[-1].number
        steady = len(run) == 1 or gap == run[1].number - run[0].number
        if image.drive == run[0].drive and 0 < gap <= LARGEST_STEP and steady:
            run.append(image)
        else:
            yield run
            run = [image]
    yield run


def _labelled(before: Mapping[_Image, _Image], run: list[_Image]) -> Iterator[LabelledSequence]:
    """Sequences of the labelled images alone."""
    if len(run) < SHORTEST_CLIP:
        for image in run:
            other = before.get(image, image)
            near = other.drive == image.drive and 0 < image.number - other.number <= RECORDED_RATE
            follows = other.path.stem if near else None
            yield LabelledSequence(image.path.stem, (image.path,), {0: image.label}, STILL_RATE, follows)
        return
    yield LabelledSequence(
        name=_name(run),
        frames=tuple(image.path for image in run),
        labels={index: image.label for index, image in enumerate(run)},
        frame_rate=RECORDED_RATE / (run[1].number - run[0].number),
    )


def _recorded(folder: Path, run: list[_Image]) -> Iterator[LabelledSequence]:
    """The sequence of the recorded drive that ends with the labelled images."""
    drive = run[0].drive
    if drive not in FIRST_FRAMES:
        raise DatasetError(f"{run[0].path}: drive {drive!r} is none of {', '.join(FIRST_FRAMES)}; rename it")
    named, decoded = FIRST_FRAMES[drive]
    numbers = [image.number - named + decoded for image in run]
    first = max(1, numbers[0] - BEFORE)
    frames = tuple(folder / drive / f"{drive}_{number:06d}.png" for number in range(first, numbers[-1] + 1))
    missing = next((frame for frame in frames if not frame.is_file()), None)
    if missing is not None:
        raise DatasetError(f"{missing}: no such file, but {run[-1].path} is labelled; decode the whole drive")
    yield LabelledSequence(
        name=_name(run),
        frames=frames,
        labels={number - first: image.label for number, image in zip(numbers, run, strict=True)},
        frame_rate=RECORDED_RATE,
    )


def _name(run: list[_Image]) -> str:
    first, last = run[0].path.stem, run[-1].path.stem
    return first if len(run) == 1 else f"{first}-{last.rpartition('_')[2]}"
