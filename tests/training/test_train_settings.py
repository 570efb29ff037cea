"""Settings of training: from flags, YAML and recipes, and what is refused."""

from __future__ import annotations

import doctest
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from arseg_edge.datasets.encode import Encoding
from arseg_edge.errors import UsageError
from arseg_edge.training import settings as module
from arseg_edge.training.augment import Augmentation
from arseg_edge.training.config import read_settings
from arseg_edge.training.setting_table import SETTINGS
from arseg_edge.training.settings import HrSettings, LrSettings
from arseg_edge.training.values import DataSource

DATA = {"data": ["streets"]}


def from_yaml(folder: Path, text: str, **flags: object) -> HrSettings:
    path = folder / "train.yaml"
    path.write_text(text)
    return read_settings(HrSettings, {**DATA, **flags}, path)


def test_the_example_runs() -> None:
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


def test_each_setting_is_described() -> None:
    assert [each.name for each in fields(LrSettings)] == list(SETTINGS)


def test_defaults_are_those_of_what_they_are_for() -> None:
    chosen, encoding, augmentation = HrSettings(), Encoding(), Augmentation()
    assert (chosen.codec, chosen.bitrate, chosen.interval, chosen.frame_rate) == (
        encoding.codec, encoding.bit_rate, encoding.interval, encoding.frame_rate,
    )  # fmt: skip
    assert Augmentation(
        chosen.crop, chosen.zoom_out, chosen.zoom_in, chosen.rotation, chosen.flip, chosen.colour
    ) == augmentation  # fmt: skip


def test_flags_go_before_the_file_and_the_file_before_the_recipe(tmp_path: Path) -> None:
    text = "family: camvid-bise18\nepochs: 7\nbatch_size: 4\n"
    chosen = from_yaml(tmp_path, text, epochs="9")
    assert (chosen.family, chosen.epochs, chosen.batch_size) == ("camvid-bise18", 9, 4)
    assert (chosen.hard_examples, chosen.optimiser, chosen.loss_stride) == (0.7, "adam", 1)


@pytest.mark.parametrize("kind", [HrSettings, LrSettings])
def test_all_settings_survive_a_file(kind: type[HrSettings], tmp_path: Path) -> None:
    flags: dict[str, Any] = {
        "data": ["camvid:train=0.75", "streets=0.25"],
        "exclude": [r"0016E5_0(7[89]|8[012])\d+", "a"],
        "hold_out": "15",
        "hold_together": "3",
        "variants": ["6", "2"],
        "distance": "11",
        "frame_rate": "30000/1001",
        "hard_examples": "0.6",
        "crop": "96x128",
        "flip": False,
        "learning_rate": "1e-4",
        "precision": "bfloat16",
        "threads": "2",
        "cache": "pairs",
    }
    if kind is LrSettings:
        flags |= {"hr": "runs/hr/best.pth", "fusion_from": "3", "fusion": "sum", "motion": False, "start": "scratch"}
    chosen = read_settings(kind, flags)
    assert chosen.data == (
        DataSource(Path.cwd() / "camvid", "train", 0.75),
        DataSource(Path.cwd() / "streets", None, 0.25),
    )
    assert (chosen.hold_out, chosen.hold_together, chosen.variants) == (15, 3, (6, 2))
    assert (chosen.distance, chosen.crop) == (11, (96, 128))
    assert (chosen.frame_rate, chosen.learning_rate, chosen.flip) == (Fraction(30000, 1001), 1e-4, False)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(chosen.plain()))
    again = read_settings(kind, {}, path)
    assert again == chosen
    assert not again.differences(chosen)


def test_only_what_matters_differs() -> None:
    chosen = HrSettings.of(data=(DataSource(Path("a")),))
    assert not chosen.differences(HrSettings.of(data=(DataSource(Path("a")),), threads=1, device="cuda", save_every=9))
    other = HrSettings.of(data=(DataSource(Path("b")),), epochs=3, seed=1)
    assert chosen.differences(other) == ["data", "epochs", "seed"]


def test_sources(tmp_path: Path) -> None:
    (tmp_path / "a:b=3").mkdir()
    for text, expected in {
        str(tmp_path / "a:b=3"): DataSource(tmp_path / "a:b=3"),
        f"{tmp_path / 'a:b=3'}:val=0.5": DataSource(tmp_path / "a:b=3", "val", 0.5),
        f"{tmp_path}=2": DataSource(tmp_path, None, 2.0),
        f"{tmp_path}:train": DataSource(tmp_path, "train"),
        f"{tmp_path}/x:y/z": DataSource(tmp_path / "x:y/z"),
    }.items():
        assert read_settings(HrSettings, {"data": [text]}).data == (expected,)
    path = tmp_path / "train.yaml"
    path.write_text(f"data: [{{path: {tmp_path}, split: '1', weight: 2}}, {tmp_path}:val=1]\n")
    assert read_settings(HrSettings, {}, path).data == (
        DataSource(tmp_path, "1", 2.0),
        DataSource(tmp_path, "val", 1.0),
    )


def test_recipes_are_the_papers() -> None:
    for name in ("camvid-psp18", "camvid-bise18"):
        hr, lr = HrSettings.of(name), LrSettings.of(name)
        for each in (hr, lr):
            assert (each.optimiser, each.learning_rate, each.epochs, each.batch_size) == ("adam", 1e-3, 100, 8)
            assert (each.weight_decay, each.region, each.average, each.auxiliary) == (0, 0, 0, 1)
        assert (lr.fusion_from, lr.start, lr.similarity, lr.scale) == (50, "scratch", 1, 0.5)
        assert LrSettings.of(name, epochs=8).fusion_from == 4
    for name in ("cityscapes-psp18", "cityscapes-bise18"):
        hr, lr = HrSettings.of(name), LrSettings.of(name)
        for each in (hr, lr):
            assert (each.optimiser, each.learning_rate, each.weight_decay, each.epochs) == ("sgd", 0.01, 5e-4, 200)
        assert (lr.fusion_from, lr.start) == (0, "scratch")
    hard = {name: HrSettings.of(name).hard_examples for name in ("camvid-psp18", "camvid-bise18", "cityscapes-bise18")}
    assert hard == {"camvid-psp18": None, "camvid-bise18": 0.7, "cityscapes-bise18": 0.7}
    assert HrSettings.of("cityscapes-psp18").auxiliary == 0.4
    assert all(HrSettings.of(name).distance is None for name in ("edge", "camvid-psp18"))
    assert (LrSettings.of("edge").start, LrSettings.of("edge").fusion_from) == ("teacher", 0)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"epochs": "many"}, "--epochs many: give a whole number of at least 1"),
        ({"epochs": "0"}, "--epochs 0: give a whole number of at least 1"),
        ({"seed": "-1"}, "--seed -1: give a whole number from 0 to 2147483647"),
        ({"learning_rate": "nan"}, "--learning-rate nan: give a number above 0"),
        ({"learning_rate": "inf"}, "--learning-rate inf: give a number above 0"),
        ({"hard_examples": "2"}, "--hard-examples 2: give a number above 0, 1 at most, or none"),
        ({"optimiser": "lion"}, "--optimiser lion: choose adam, adamw or sgd"),
        ({"crop": "320"}, "--crop 320: give HEIGHTxWIDTH, 32 each at least"),
        ({"frame_rate": "0"}, "--frame-rate 0: give frames a second"),
        ({"data": ["a=-1"]}, "--data a=-1: 'a=-1': give a number above 0"),
        ({"data": ["a=0.5", "b"]}, "data: 1 of 2 have a weight"),
        ({"data": ["a", "b", "c"], "variants": ["1", "2"]}, "variants: 2 for 3 data sets"),
        ({"validation": "v", "hold_out": "3"}, "validation and hold_out"),
        ({"validation": "v", "hold_together": "3"}, "validation and hold_together"),
        ({"zoom_out": "2"}, "zoom_out 2 is above zoom_in 1.8"),
        ({"distance": "12"}, "distance 12: must be below the interval, which is 12"),
        ({"crop": "65x64", "loss_stride": "2"}, "crop 65x64: must be a multiple of loss_stride, which is 2"),
    ],
)
def test_values_that_make_no_sense(flags: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_settings(HrSettings, {**DATA, **flags})
    assert str(raised.value).startswith(complaint)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("learning-rate: 3", "learning-rate: no setting of train hr: did you mean learning_rate?"),
        ("hr: best.pth", "hr: no setting of train hr: "),
        ("qwertz: 3", "qwertz: no setting of train hr: settings are family, data, "),
        ("epochs: 1.5", "epochs: 1.5: give a whole number of at least 1"),
        ("epochs: true", "epochs: True: give a whole number"),
        ("flip: maybe", "flip: 'maybe': give true or false"),
        ("family: 3", "family: 3: give text"),
        ("data: [{folder: a}]", "data: [{'folder': 'a'}]: {'folder': 'a'}: give path, split, weight, not folder"),
        ("data: [3]", "data: [3]: 3: give PATH, PATH:SPLIT or PATH:SPLIT=WEIGHT"),
        ("cache: [a]", "cache: ['a']: give a path, or auto"),
        ("- 1", "holds list, not settings"),
        ("a: [", "not YAML ("),
    ],
)
def test_files_that_make_no_sense(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        from_yaml(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path / 'train.yaml'}")
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no data set to train on: give --data"):
        read_settings(HrSettings, {})
    with pytest.raises(UsageError, match="no teacher: give --hr"):
        read_settings(LrSettings, DATA)
    with pytest.raises(UsageError, match=r"fusion_from 20: must be below the epochs, which are 9"):
        read_settings(LrSettings, {**DATA, "hr": "a", "epochs": "9", "fusion_from": "20"})
    with pytest.raises(UsageError, match=r"nowhere\.yaml: No such file"):
        read_settings(HrSettings, DATA, tmp_path / "nowhere.yaml")
