"""Masks whose values are not what they seem, and classes that no label has."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from dataset_pictures import write_picture

from arseg_edge.datasets import IGNORED, AbsentClassWarning, absent_classes, open_dataset, warn_of_absent
from arseg_edge.errors import DatasetError

MASK = np.where(np.hypot(*np.mgrid[-16:16, -24:24]) < 10, 255, 0).astype(np.uint8)
SHARE = 100 * (MASK == 255).mean()


def make(root: Path, description: str, *labels: np.ndarray) -> Path:
    """Write stills with these labels."""
    for index, label in enumerate(labels):
        write_picture(root / f"clips/{index}.png", np.zeros((*label.shape, 3), np.uint8))
        write_picture(root / f"labels/{index}.png", label)
    (root / "dataset.yaml").write_text(description)
    return root


def test_a_mask_of_0_and_255_is_refused_with_what_to_set(tmp_path: Path) -> None:
    dataset = open_dataset(make(tmp_path / "people", "classes: [background, person]", MASK, MASK))
    with pytest.raises(DatasetError) as raised:
        absent_classes(dataset)
    assert str(raised.value) == (
        f"people: no pixel is 'person', while {SHARE:.1f} % have the value 255, which counts as ignored where nothing "
        "is said: set values: {0: background, 255: person} in dataset.yaml if it is a class, or ignored: [255] if it "
        "is none"
    )
    assert raised.value.exit_code == 5


def test_what_the_refusal_says_works(tmp_path: Path) -> None:
    values = "classes: [background, person]\nvalues: {0: background, 255: person}"
    dataset = open_dataset(make(tmp_path / "set", values, MASK))
    assert absent_classes(dataset) == ()
    labels = dataset.read_labels(tmp_path / "set/labels/0.png")
    np.testing.assert_array_equal(labels, (MASK == 255).astype(np.uint8))

    ignored = open_dataset(make(tmp_path / "ignored", "classes: [background, person]\nignored: [255]", MASK))
    assert absent_classes(ignored) == ("person",)
    with pytest.warns(AbsentClassWarning, match="^ignored: no pixel of the labels to train on is 'person'$"):
        assert warn_of_absent(ignored, "the labels to train on") == ("person",)


def test_a_little_of_255_is_what_it_always_was(tmp_path: Path) -> None:
    label = np.zeros((40, 60), np.uint8)
    label[0, :20] = 255
    dataset = open_dataset(make(tmp_path / "a", "classes: [ground, plant, robot]", label))
    assert absent_classes(dataset) == ("plant", "robot")
    with pytest.warns(AbsentClassWarning, match="is 'plant' or 'robot'$"):
        warn_of_absent(dataset, "the labels")
    label[1, :] = 255
    dataset = open_dataset(make(tmp_path / "b", "classes: [ground, plant]", label))
    with pytest.raises(DatasetError, match=r"no pixel is 'plant', while 3\.3 % have the value 255"):
        absent_classes(dataset)


def test_where_all_classes_are_there_nothing_is_said(tmp_path: Path) -> None:
    label = MASK.copy()
    label[0, 0] = 1
    dataset = open_dataset(make(tmp_path / "a", "classes: [ground, plant]", label))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert warn_of_absent(dataset, "the labels") == ()


def test_values_in_order_leave_the_ignored_ones_out(tmp_path: Path) -> None:
    label = np.array([[0, 1, 2, 0]], np.uint8).repeat(32, 0).repeat(8, 1)
    dataset = open_dataset(make(tmp_path / "a", "classes: [ground, plant]\nignored: [0]", label))
    assert dataset.read_labels(tmp_path / "a/labels/0.png")[0, ::8].tolist() == [IGNORED, 0, 1, IGNORED]
    assert absent_classes(dataset) == ()
    write_picture(tmp_path / "a/labels/0.png", np.full_like(label, 255))
    with pytest.raises(DatasetError, match=r"label value 255 is outside .* \(1 ground, 2 plant; ignored: 0"):
        dataset.read_labels(tmp_path / "a/labels/0.png")


def test_several_values_may_be_one_class_and_others_ignored(tmp_path: Path) -> None:
    label = np.array([[0, 7, 9, 255, 3]], np.uint8).repeat(32, 0).repeat(8, 1)
    text = "classes: [ground, plant]\nvalues: {0: ground, 7: plant, 9: plant}\nignored: [3, 255]"
    dataset = open_dataset(make(tmp_path / "a", text, label))
    found = dataset.read_labels(tmp_path / "a/labels/0.png")[0, ::8].tolist()
    assert found == [0, 1, 1, IGNORED, IGNORED]
