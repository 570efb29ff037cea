from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dataset_pictures import write_picture

from arseg_edge.datasets import IGNORED, open_dataset
from arseg_edge.errors import DatasetError
from arseg_edge.palette import CITYSCAPES

IMAGE = np.zeros((2, 17, 3), np.uint8)
IDS = np.arange(34, dtype=np.uint8).reshape(2, 17)

# Names and ids from the class definitions on the data set's page.
SCORED = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27,
    "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip


def label(root: Path, name: str, kind: str = "labelIds", split: str = "train") -> Path:
    return root / "gtFine" / split / name.split("_")[0] / f"{name}_gtFine_{kind}.png"


def image(root: Path, name: str, folder: str = "leftImg8bit", split: str = "train") -> Path:
    return root / folder / split / name.split("_")[0] / f"{name}_leftImg8bit.png"


def make(root: Path, *names: str, kind: str = "labelIds") -> Path:
    for name in names:
        write_picture(image(root, name), IMAGE)
        write_picture(label(root, name, kind), IDS)
    return root


def test_stills_where_there_are_no_sequences(tmp_path: Path) -> None:
    names = ("aachen_000000_000019", "aachen_000001_000019", "ulm_000000_000019")
    make(tmp_path, *names)
    write_picture(label(tmp_path, names[0], "color"), IMAGE)  # comes with the download
    write_picture(label(tmp_path, names[0], "labelTrainIds"), IDS)
    dataset = open_dataset(tmp_path)
    assert dataset.name == "Cityscapes train"
    assert tuple(s.name for s in dataset.sequences) == names
    assert all(s.is_still and s.frame_rate == 17 for s in dataset.sequences)
    assert dataset.sequences[2].labels == {0: label(tmp_path, names[2])}


def test_ids_become_classes(tmp_path: Path) -> None:
    make(tmp_path, "aachen_000000_000019")
    dataset = open_dataset(tmp_path)
    labels = dataset.read_labels(label(tmp_path, "aachen_000000_000019")).ravel()
    assert dataset.classes is CITYSCAPES
    assert {CITYSCAPES.names[index]: value for value, index in enumerate(labels) if index != IGNORED} == SCORED


def test_training_ids_are_classes(tmp_path: Path) -> None:
    name = "aachen_000000_000019"
    make(tmp_path, name, kind="labelTrainIds")
    values = np.where(IDS < 19, IDS, 255).astype(np.uint8)
    write_picture(label(tmp_path, name, "labelTrainIds"), values)
    dataset = open_dataset(tmp_path)
    assert (dataset.read_labels(label(tmp_path, name, "labelTrainIds")) == values).all()
    write_picture(label(tmp_path, name, "labelTrainIds"), IDS)
    with pytest.raises(DatasetError, match="label value 19 is outside the class list"):
        dataset.read_labels(label(tmp_path, name, "labelTrainIds"))


def test_sequences_end_with_the_labelled_frame(tmp_path: Path) -> None:
    name = "frankfurt_000000_000294"
    write_picture(label(tmp_path, name, split="val"), IDS)
    for number in range(275, 305):
        write_picture(image(tmp_path, f"frankfurt_000000_{number:06d}", "leftImg8bit_sequence", "val"), IMAGE)
    (sequence,) = open_dataset(tmp_path, "val").sequences
    assert isinstance(sequence.frames, tuple)
    assert (sequence.name, len(sequence.frames), sequence.frame_rate) == (name, 20, 17)
    assert sequence.frames[0].name == "frankfurt_000000_000275_leftImg8bit.png"
    assert sequence.frames[19].name == "frankfurt_000000_000294_leftImg8bit.png"
    assert sequence.labels == {19: label(tmp_path, name, split="val")}
    sequence.frames[7].unlink()
    with pytest.raises(
        DatasetError, match=r"frankfurt_000000_000282_leftImg8bit.png: no such file, but .*labelIds.png"
    ):
        open_dataset(tmp_path, "val")


def test_what_does_not_fit_together(tmp_path: Path) -> None:
    root = make(tmp_path, "aachen_000000_000019", "ulm_000000_000019")
    write_picture(label(root, "ulm_000000_000019"), IDS.T)
    with pytest.raises(DatasetError, match=r"ulm_.*_labelIds.png: 2×17 pixels, but .*_leftImg8bit.png has 17×2"):
        open_dataset(root)
    label(root, "ulm_000000_000019").unlink()
    with pytest.raises(DatasetError, match=r"ulm_000000_000019_leftImg8bit.png: no label for it in"):
        open_dataset(root)
    write_picture(root / "gtFine/train/ulm/aachen_000000_000019_gtFine_labelIds.png", IDS)
    with pytest.raises(DatasetError, match=r"ulm/aachen_.*_labelIds.png: .*aachen/aachen_.* has the same name"):
        open_dataset(root)
    (root / "gtFine" / "val").mkdir()
    with pytest.raises(DatasetError, match="val: no labels in it"):
        open_dataset(root, "val")
    with pytest.raises(DatasetError, match="no split 'test' in it; choose train or val"):
        open_dataset(root, "test")


def test_a_label_of_another_naming(tmp_path: Path) -> None:
    make(tmp_path, "aachen")
    (tmp_path / "leftImg8bit_sequence" / "train").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"aachen_gtFine_labelIds.png: not a Cityscapes name"):
        open_dataset(tmp_path)
