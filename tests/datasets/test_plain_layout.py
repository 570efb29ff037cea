from __future__ import annotations

import doctest
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from dataset_pictures import write_picture

from arseg_edge.datasets import IGNORED, open_dataset, plain
from arseg_edge.datasets.encode import Encoding, encode_clip
from arseg_edge.errors import DatasetError, SourceError, UsageError
from arseg_edge.palette import distinct_colours

IMAGE = np.zeros((32, 48, 3), np.uint8)
LABEL = np.zeros((32, 48), np.uint8)
CLASSES = "classes: {ground: [128, 64, 128], plant: '#006400'}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A video of 5 frames, a folder of 11 images, a still."""
    root = tmp_path / "yard"
    (root / "clips").mkdir(parents=True)
    encode_clip([IMAGE] * 5, root / "clips" / "north.mp4", Encoding(frame_rate=Fraction(10)))
    for index in range(1, 12):
        write_picture(root / "clips" / "south" / f"frame{index}.jpg", IMAGE)
    write_picture(root / "clips" / "west.png", IMAGE)
    for label in ("north/000000", "north/000004", "south/frame10", "west"):
        write_picture(root / "labels" / f"{label}.png", LABEL)
    (root / "dataset.yaml").write_text(CLASSES)
    return root


def test_the_example_runs() -> None:
    outcome = doctest.testmod(plain)
    assert (outcome.attempted > 0, outcome.failed) == (True, 0)


def test_a_video_a_folder_and_a_still(root: Path) -> None:
    dataset = open_dataset(root)
    north, south, west = dataset.sequences
    assert dataset.name == "yard"
    assert (dataset.classes.names, dataset.classes.colours) == (("ground", "plant"), ((128, 64, 128), (0, 100, 0)))
    assert (north.name, north.frames, north.frame_rate) == ("north", root / "clips" / "north.mp4", 10)
    assert north.labels == {0: root / "labels/north/000000.png", 4: root / "labels/north/000004.png"}
    assert isinstance(south.frames, tuple)
    assert (south.name, south.frame_rate) == ("south", 25)
    assert [path.stem for path in south.frames] == [f"frame{index}" for index in range(1, 12)]
    assert south.labels == {9: root / "labels/south/frame10.png"}
    assert (west.name, west.is_still, dict(west.labels)) == ("west", True, {0: root / "labels/west.png"})


def test_labels_by_value_and_by_colour(root: Path) -> None:
    (root / "dataset.yaml").write_text(f"{CLASSES}ignored: [7, [1, 2, 3], '#0a0b0c']")
    dataset = open_dataset(root)
    values = write_picture(root / "values.png", np.array([[0, 1, 7]], np.uint8))
    colours = [[(128, 64, 128), (0, 100, 0), (1, 2, 3), (10, 11, 12)]]
    assert dataset.read_labels(values).tolist() == [[0, 1, IGNORED]]
    path = write_picture(root / "colours.png", np.array(colours, np.uint8))
    assert dataset.read_labels(path).tolist() == [[0, 1, IGNORED, IGNORED]]


def test_255_is_ignored_unless_something_else_is_said(root: Path) -> None:
    path = write_picture(root / "label.png", np.full((1, 1), 255, np.uint8))
    assert open_dataset(root).read_labels(path).tolist() == [[IGNORED]]
    (root / "dataset.yaml").write_text(f"{CLASSES}ignored: []")
    with pytest.raises(DatasetError, match="label value 255 is outside the class list"):
        open_dataset(root).read_labels(path)


def test_classes_without_colours_get_some(root: Path) -> None:
    (root / "dataset.yaml").write_text("classes: [a, b, c]")
    assert open_dataset(root).classes.colours == distinct_colours(3)


def test_splits_and_frame_rate(root: Path) -> None:
    (root / "dataset.yaml").write_text(
        f"{CLASSES}frame_rate: 30000/1001\nsplits: {{train: [north, 's.*'], val: [west]}}"
    )
    train = open_dataset(root, "train")
    assert [(s.name, s.frame_rate) for s in train.sequences] == [("north", 10), ("south", Fraction(30000, 1001))]
    assert [s.name for s in open_dataset(root, "val").sequences] == ["west"]
    with pytest.raises(DatasetError, match="yard: it has the splits train, val; choose one"):
        open_dataset(root)
    (root / "dataset.yaml").write_text(CLASSES)
    with pytest.raises(DatasetError, match="yard: no split 'train' in it; leave it out"):
        open_dataset(root, "train")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("classes: [a", "not YAML"),
        (": {", "not YAML"),
        ("? [1, 2]\n: 3", "not YAML"),
        ("", "it names no classes"),
        ("[1]", "it names no classes"),
        ("classes: 3", "classes: 3; give 1 to 255 names"),
        ("classes: []", "give 1 to 255 names"),
        ("classes: [a, a]", "2 classes are named 'a'; rename all but one"),
        ("classes:\n  a: [1, 2, 3]\n  a: [4, 5, 6]", r"'a' is given twice \(line 2\); rename one of the two"),
        ("classes: {on: [1, 2, 3]}", "class name True is not text; put it in quotes"),
        ("classes: {a: [1, 2, 3], b: [1, 2, 3]}", r"'a' and 'b' both have colour \[1, 2, 3\]"),
        ("classes: {a: red}", r"class 'a': colour 'red'; give \[red, green, blue\]"),
        ("classes: {a: '#12345g'}", "class 'a': colour '#12345g'"),
        ("classes: {a: [1, 2]}", r"class 'a': colour \[1, 2\]"),
        ("classes: {a: [1, 2, 256]}", r"class 'a': colour \[1, 2, 256\]"),
        (f"{CLASSES}class: 3", "unknown key 'class'; use classes, values, ignored, frame_rate, splits"),
        (f"{CLASSES}ignored: 255", "ignored: 255 is no list"),
        (f"{CLASSES}ignored: [256]", "ignored: value 256; give 0 to 255"),
        (f"{CLASSES}ignored: [true]", "ignored: value True; give 0 to 255"),
        (f"{CLASSES}ignored: {[*range(255)]}", "ignored: leaves 1 values for 2 classes; ignore fewer"),
        (f"{CLASSES}values: [0, 255]", r"values: \[0, 255\]; give a class for each, like {0: background, 255: person}"),
        (f"{CLASSES}values: {{0: ground, 255: plants}}", "values: 255: 'plants' is none of the classes ground, plant"),
        (f"{CLASSES}values: {{0: ground}}", "values: class 'plant' has none; give it one"),
        (f"{CLASSES}values: {{0: ground, 300: plant}}", "values: value 300; give 0 to 255"),
        (f"{CLASSES}values: {{0: ground, '1': plant}}", "values: value '1'; give 0 to 255"),
        (f"{CLASSES}values: {{0: ground, 0: plant}}", "'0' is given twice"),
        (
            f"{CLASSES}values: {{0: ground, 255: plant}}\nignored: [255]",
            "ignored: 255 is the value of class 'plant'; change one of them",
        ),
        (f"{CLASSES}ignored: [[0, 100, 0]]", r"ignored: \[0, 100, 0\] is the colour of class 'plant'"),
        (f"{CLASSES}frame_rate: fast", "frame_rate: 'fast'; give frames a second"),
        (f"{CLASSES}frame_rate: -1", "frame_rate: -1; give frames a second"),
        (f"{CLASSES}frame_rate: 30/0", "frame_rate: '30/0'; give frames a second"),
        (f"{CLASSES}splits: [a]", r"splits: \['a'\]; give names of clips"),
        (f"{CLASSES}splits: {{train: north}}", "splits: 'train': 'north'; give names of clips"),
        (f"{CLASSES}splits: {{train: [1]}}", r"splits: 'train': \[1\]; .*numbers in quotes"),
        (f"{CLASSES}splits: {{train: []}}", "splits: 'train' is empty"),
        (f"{CLASSES}splits: {{train: [nord]}}", "splits: train: 'nord': matches no sequence; there is north, for one"),
        (f"{CLASSES}splits: {{train: ['.*th'], val: [north]}}", "clip 'north' is in splits 'train' and 'val'"),
    ],
)
def test_what_is_no_description(root: Path, content: str, problem: str) -> None:
    (root / "dataset.yaml").write_text(content)
    with pytest.raises(DatasetError, match=problem) as raised:
        open_dataset(root, "train" if "train" in content else None)
    assert str(raised.value).startswith(f"{root / 'dataset.yaml'}: ")
    assert "\n" not in str(raised.value)


def test_a_description_of_another_encoding(root: Path) -> None:
    (root / "dataset.yaml").write_bytes("classes: [grün]".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"dataset.yaml: not YAML"):
        open_dataset(root)


def test_pyyaml_is_asked_for_where_it_is_needed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)  # as if not installed
    with pytest.raises(UsageError, match=r'PyYAML is needed to read it: pip install "arseg-edge\[train\]"'):
        open_dataset(root)


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ("north/000005.png", "labels frame 5, but sequence north has frames 0 to 4"),
        ("north/first.png", "not named after the number of a frame, like 000012.png"),
        ("north/4.png", "000004.png labels the same frame; remove one of the two"),
        ("south/frame12.png", r"no image of this name in .*clips/south"),
        ("east/000000.png", r"no clip of this name in .*clips; add it or remove this"),
    ],
)
def test_a_label_for_what_does_not_exist(root: Path, label: str, problem: str) -> None:
    path = write_picture(root / "labels" / label, LABEL)
    with pytest.raises(DatasetError, match=problem) as raised:
        open_dataset(root)
    assert str(path if path.parent.name != "east" else path.parent) in str(raised.value)


def test_frames_are_counted_where_the_container_does_not_say(root: Path) -> None:
    (root / "clips" / "north.mp4").unlink()
    encode_clip([IMAGE] * 5, root / "clips" / "north.mkv", Encoding())
    assert sorted(open_dataset(root).sequences[0].labels) == [0, 4]
    write_picture(root / "labels/north/000005.png", LABEL)
    with pytest.raises(DatasetError, match=r"000005.png: labels frame 5, but sequence north has frames 0 to 4"):
        open_dataset(root)


@pytest.mark.parametrize("label", ["north/000004.png", "south/frame10.png", "west.png"])
def test_a_label_of_another_size(root: Path, label: str) -> None:
    write_picture(root / "labels" / label, LABEL[:16])
    with pytest.raises(DatasetError, match=rf"{label}: 48×16 pixels, but .*clips.* has 48×32"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ("north/000000.png north/000004.png", r"clips/north.mp4: no labels in .*labels/north"),
        ("south/frame10.png", r"clips/south: no labels in .*labels/south; add one at least or remove the clip"),
        ("west.png", r"clips/west.png: no label .*labels/west.png; add it or remove the still"),
    ],
)
def test_a_clip_without_labels(root: Path, labels: str, problem: str) -> None:
    for label in labels.split():
        (root / "labels" / label).unlink()
    with pytest.raises(DatasetError, match=problem):
        open_dataset(root)


def test_clips_of_the_same_name(root: Path) -> None:
    write_picture(root / "clips" / "north.png", IMAGE)
    with pytest.raises(DatasetError, match=r"north.png: north.mp4 is a clip of the same name"):
        open_dataset(root)


def test_what_is_no_video(root: Path) -> None:
    (root / "clips" / "north.mp4").write_text("no video")
    with pytest.raises(SourceError, match=r"north.mp4: not a video"):
        open_dataset(root)


def test_folders_that_are_missing_or_empty(tmp_path: Path) -> None:
    (tmp_path / "dataset.yaml").write_text(CLASSES)
    with pytest.raises(DatasetError, match="clips: No such file or directory"):
        open_dataset(tmp_path)
    (tmp_path / "clips").mkdir()
    with pytest.raises(DatasetError, match="clips: no clips in it; add videos, folders of images, or stills"):
        open_dataset(tmp_path)
    write_picture(tmp_path / "clips" / "a.png", IMAGE)
    with pytest.raises(DatasetError, match="labels: No such file or directory"):
        open_dataset(tmp_path)
