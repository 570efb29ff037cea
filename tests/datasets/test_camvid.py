from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_pictures import write_picture

from arseg_edge.datasets import IGNORED, Dataset, open_dataset, read_image, without
from arseg_edge.datasets.camvid import OTHER_COLOURS
from arseg_edge.errors import DatasetError
from arseg_edge.palette import CAMVID

IMAGE = np.zeros((6, 8, 3), np.uint8)
LABEL = np.arange(48, dtype=np.uint8).reshape(6, 8) % 12


def make(root: Path, *stems: str, split: str = "train", annotations: str = "annot", ending: str = "") -> Path:
    for stem in stems:
        write_picture(root / split / f"{stem}.png", IMAGE)
        write_picture(root / f"{split}{annotations}" / f"{stem}{ending}.png", LABEL)
    return root


def summary(dataset: Dataset) -> list[tuple[str, int, list[int], Fraction]]:
    return [(s.name, len(list(s.read_frames())), sorted(s.labels), s.frame_rate) for s in dataset.sequences]


def test_train_of_the_shared_data_is_stills(shared: Callable[[str], Path]) -> None:
    dataset = open_dataset(shared("camvid"), "train")
    assert len(dataset.sequences) == 367
    assert all(sequence.is_still for sequence in dataset.sequences)
    assert dataset.sequences[0].name == "0001TP_006690"
    assert dataset.classes.names == CAMVID.names[:11]
    beside_the_clip = [
        "0016E5_07800", "0016E5_07830", "0016E5_07860", "0016E5_07890", "0016E5_07920",
        "0016E5_08190", "0016E5_08220", "0016E5_08250", "0016E5_08280",
    ]  # fmt: skip
    left = without(dataset, ["0016E5_0(7[89]|8[012]).*"])
    assert {s.name for s in dataset.sequences} - {s.name for s in left.sequences} == set(beside_the_clip)


def test_val_of_the_shared_data_is_one_clip(shared: Callable[[str], Path]) -> None:
    root = shared("camvid")
    (clip,) = open_dataset(root, "val").sequences
    assert clip.name == "0016E5_07959-08159"
    assert isinstance(clip.frames, tuple)
    assert list(clip.labels) == list(range(101))
    assert clip.frame_rate == 15
    assert [path.name for path in clip.frames] == [f"0016E5_{number:05d}.png" for number in range(7959, 8160, 2)]
    assert all(path.name == clip.labels[index].name for index, path in enumerate(clip.frames))


def test_labels_of_the_shared_data(shared: Callable[[str], Path]) -> None:
    root = shared("camvid")
    dataset = open_dataset(root, "val")
    (clip,) = dataset.sequences
    stored = cv2.imread(str(root / "valannot" / "0016E5_08059.png"), cv2.IMREAD_UNCHANGED)
    labels = dataset.read_labels(clip.labels[50])
    assert ((labels == stored) | ((stored == 11) & (labels == IGNORED))).all()
    assert read_image(root / "val" / "0016E5_08059.png").shape == (*labels.shape, 3) == (360, 480, 3)


def test_images_that_follow_each_other_are_a_clip(tmp_path: Path) -> None:
    make(tmp_path, "0006R0_f00930", "0006R0_f00960")  # a second apart
    make(tmp_path, *(f"0016E5_{number:05d}" for number in range(390, 416, 2)))  # 13 at 15 fps
    make(tmp_path, *(f"0016E5_{number:05d}" for number in range(415, 427)))  # the step changes: 12 at 30 fps
    make(tmp_path, *(f"0016E5_{number:05d}" for number in range(429, 465, 3)))  # the step is too large
    make(tmp_path, *(f"Seq05VD_f{number:05d}" for number in range(464, 476)))  # another drive goes on
    make(tmp_path, *(f"Seq05VD_f{number:05d}" for number in range(500, 522, 2)))  # 11 are too few
    assert summary(open_dataset(tmp_path, "train")) == [
        ("0006R0_f00930", 1, [0], 15),
        ("0006R0_f00960", 1, [0], 15),
        ("0016E5_00390-00414", 13, list(range(13)), 15),
        ("0016E5_00415-00426", 12, list(range(12)), 30),
        *((f"0016E5_{number:05d}", 1, [0], 15) for number in range(429, 465, 3)),
        ("Seq05VD_f00464-f00475", 12, list(range(12)), 30),
        *((f"Seq05VD_f{number:05d}", 1, [0], 15) for number in range(500, 522, 2)),
    ]


def test_still_knows_the_one_its_drive_passed_before_it(tmp_path: Path) -> None:
    make(tmp_path, "0001TP_006690", "0001TP_006720", "0001TP_006750")
    make(tmp_path, "0001TP_006781", "0006R0_f06790")  # more than a second later; another drive
    make(tmp_path, *(f"0016E5_{number:05d}" for number in range(390, 416, 2)), "0016E5_00430")  # a clip before it
    dataset = open_dataset(tmp_path, "train")
    first, second, third, late, elsewhere, clip, after = dataset.sequences
    assert [dataset.before(sequence) for sequence in (first, second, third)] == [None, first, second]
    assert [dataset.before(sequence) for sequence in (late, elsewhere, clip, after)] == [None] * 4
    # Only within its part of the data: what is held out is no keyframe of what is trained on.
    assert without(dataset, [second.name]).before(third) is None


def test_stills_of_the_shared_data_follow_each_other(shared: Callable[[str], Path]) -> None:
    dataset = open_dataset(shared("camvid"), "train")
    following = [(before, still) for still in dataset.sequences if (before := dataset.before(still))]
    assert len(following) == 361  # Of 367: six have none within a second.
    assert all(before.name.partition("_")[0] == still.name.partition("_")[0] for before, still in following)


def test_the_only_split_needs_no_name_and_of_several_one_must_be_chosen(tmp_path: Path) -> None:
    make(tmp_path, "0001TP_006690")
    assert open_dataset(tmp_path).name == "CamVid train"
    make(tmp_path, "0001TP_006720", split="test")
    assert open_dataset(str(tmp_path), "test").sequences[0].name == "0001TP_006720"
    with pytest.raises(DatasetError, match="it has the splits train, test; choose one"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="no split 'val' in it; choose train or test"):
        open_dataset(tmp_path, "val")


@pytest.mark.parametrize("ending", ["_L", ""])
def test_the_authors_layout(tmp_path: Path, ending: str) -> None:
    make(tmp_path, "0001TP_006690", annotations="_labels_with_ignored", ending=ending)
    (tmp_path / "train_labels").mkdir()  # what the numbers were made from
    path = tmp_path / "train_labels_with_ignored" / f"0001TP_006690{ending}.png"
    write_picture(path, np.where(LABEL == 5, 255, LABEL).astype(np.uint8))
    dataset = open_dataset(tmp_path, "train")
    assert dataset.sequences[0].labels == {0: path}
    assert (dataset.read_labels(path) == np.where((LABEL == 5) | (LABEL == 11), IGNORED, LABEL)).all()


def test_the_authors_layout_in_camvids_colours(tmp_path: Path) -> None:
    make(tmp_path, "Seq05VD_f00030", annotations="_labels", ending="_L")
    colours = [*CAMVID.colours[:11], *OTHER_COLOURS]
    assert len(set(colours)) == 32
    picture = np.array(colours, np.uint8).reshape(4, 8, 3)
    path = write_picture(tmp_path / "train_labels" / "Seq05VD_f00030_L.png", picture)
    write_picture(tmp_path / "train" / "Seq05VD_f00030.png", np.zeros((4, 8, 3), np.uint8))
    dataset = open_dataset(tmp_path, "train")
    assert dataset.read_labels(path).ravel().tolist() == [*range(11), *[IGNORED] * 21]


def test_recorded_drives_give_the_frames_before(tmp_path: Path) -> None:
    make(tmp_path, "0001TP_006690", "0001TP_006720", "0016E5_00392", "0016E5_00394", "Seq05VD_f00000")
    # The authors' numbers: 6690 is picture 31 of 0001TP, 390 is 392 of 0016E5, 30 is 32 of Seq05VD.
    for drive, numbers in {"0001TP": range(2, 62), "0016E5": range(365, 397), "Seq05VD": range(1, 3)}.items():
        for number in numbers:
            write_picture(tmp_path / "frames" / drive / f"{drive}_{number:06d}.png", IMAGE)
    dataset = open_dataset(tmp_path, "train")
    assert summary(dataset) == [
        ("0001TP_006690", 30, [29], 30),
        ("0001TP_006720", 30, [29], 30),
        ("0016E5_00392-00394", 32, [29, 31], 30),
        ("Seq05VD_f00000", 2, [1], 30),
    ]
    first = dataset.sequences[0].frames
    assert isinstance(first, tuple)
    assert (first[0].name, first[29].name) == ("0001TP_000002.png", "0001TP_000031.png")
    (tmp_path / "frames" / "0016E5" / "0016E5_000390.png").unlink()
    with pytest.raises(DatasetError, match=r"0016E5_000390.png: no such file, but .*0016E5_00394.png is labelled"):
        open_dataset(tmp_path, "train")


def test_a_drive_that_is_not_known(tmp_path: Path) -> None:
    make(tmp_path, "0005VD_00030")
    (tmp_path / "frames").mkdir()
    with pytest.raises(DatasetError, match=r"0005VD_00030.png: drive '0005VD' is none of 0001TP"):
        open_dataset(tmp_path, "train")


def test_what_does_not_fit_together(tmp_path: Path) -> None:
    root = make(tmp_path, "0001TP_006690", "0001TP_006720", "0001TP_006750")

    def problem(match: str) -> None:
        with pytest.raises(DatasetError, match=match):
            open_dataset(root, "train")

    (root / "trainannot" / "0001TP_006720.png").rename(root / "away.png")
    problem(r"train/0001TP_006720.png: no label for it in .*trainannot; add it or remove the image")
    (root / "away.png").rename(root / "trainannot" / "0001TP_006720.png")
    (root / "train" / "0001TP_006690.png").rename(root / "away.png")
    problem(r"trainannot/0001TP_006690.png: no image for it in .*train; add it or remove the label")
    (root / "away.png").rename(root / "train" / "0001TP_006690.png")
    write_picture(root / "train" / "0001TP_006690.jpg", IMAGE)
    problem(r"0001TP_006690.png: 0001TP_006690.jpg has the same name; remove one of the two")
    (root / "train" / "0001TP_006690.png").unlink()  # a JPEG serves as well
    assert len(open_dataset(root, "train").sequences) == 3
    write_picture(root / "train" / "0001TP_006690.jpg", np.zeros((12, 8, 3), np.uint8))
    problem(r"trainannot/0001TP_006690.png: 8×6 pixels, but .*0001TP_006690.jpg has 8×12; resize one of them")
    write_picture(root / "train" / "0001TP_006690.jpg", IMAGE)
    (root / "trainannot" / "0001TP_006690.png").rename(root / "trainannot" / "0001TP_006690.jpg")
    write_picture(root / "trainannot" / "0001TP_006690.jpg", LABEL)
    problem(r"trainannot/0001TP_006690.jpg: labels must be a PNG; convert it")


def test_names_that_are_not_camvids(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holiday.png: not a CamVid name"):
        open_dataset(make(tmp_path, "holiday"), "train")


def test_no_data_set_at_all(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="absent: no such folder"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(DatasetError, match=r"no data set of a known layout: it needs a dataset.yaml"):
        open_dataset(tmp_path)
    for folder in ("train", "trainannot"):
        (tmp_path / folder).mkdir()
    with pytest.raises(DatasetError, match=r"train: no images in this split; add some to it and .*trainannot"):
        open_dataset(tmp_path, "train")
