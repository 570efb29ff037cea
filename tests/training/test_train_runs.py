"""Whole runs of training on a small data set: what they leave, when they go on, and what they refuse."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
import yaml
from moving_scenes import write, write_dataset

from arseg_edge.datasets import Dataset, open_dataset
from arseg_edge.errors import (
    ArsegError,
    CheckpointError,
    DatasetError,
    OutputError,
    ProviderError,
    TrainingError,
    UsageError,
)
from arseg_edge.export.checkpoint import read_checkpoint
from arseg_edge.training import data, train
from arseg_edge.training.cache import PairCache, PairSettings
from arseg_edge.training.config import read_settings
from arseg_edge.training.data import open_data
from arseg_edge.training.hr import HrTask
from arseg_edge.training.loop import Outcome
from arseg_edge.training.settings import HrSettings, LrSettings
from arseg_edge.training.train import Watcher, train_hr, train_lr
from arseg_edge.training.values import DataSource

FILES = {"best.pth", "state.pt", "curves.csv", "curves.png", "config.yaml", "command.txt", "inputs.json"}


def lr_settings(quick: HrSettings, hr: Path, **changes: Any) -> LrSettings:
    return LrSettings(**{**vars(quick), "hr": hr, **changes})


@pytest.fixture(scope="module")
def hr(quick: HrSettings, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return train_hr(quick, tmp_path_factory.mktemp("runs") / "hr", command="arseg-edge train hr …")


@pytest.fixture(scope="module")
def lr(quick: HrSettings, hr: Outcome) -> Outcome:
    return train_lr(lr_settings(quick, hr.best, fusion_from=1), hr.best.parent.parent / "lr", command="…")


def test_what_a_run_leaves(quick: HrSettings, hr: Outcome, lr: Outcome, scenes: Path) -> None:
    for outcome, kind in ((hr, HrSettings), (lr, LrSettings)):
        folder = outcome.best.parent
        assert {path.name for path in folder.iterdir()} == FILES
        assert [row.epoch for row in outcome.rows] == [1, 2]
        assert [row.step for row in outcome.rows] == [2, 4]
        assert read_checkpoint(outcome.best).classes == open_dataset(scenes).classes
        again = read_settings(kind, {}, folder / "config.yaml")
        assert again == (quick if kind is HrSettings else lr_settings(quick, hr.best, fusion_from=1))
    assert (hr.best.parent / "command.txt").read_text() == "arseg-edge train hr …\n"
    assert [row.score is None for row in lr.rows] == [True, False]
    assert "fuse_attention.hr_key_conv.weight" in read_checkpoint(lr.best).tensors


def test_same_seed_same_bits_another_seed_others(quick: HrSettings, hr: Outcome, tmp_path: Path) -> None:
    same = train_hr(quick, tmp_path / "same")
    assert same.best.read_bytes() == hr.best.read_bytes()
    assert (tmp_path / "same/curves.csv").read_bytes() == (hr.best.parent / "curves.csv").read_bytes()
    # The file of settings that was left trains the same again.
    again = train_hr(read_settings(HrSettings, {}, tmp_path / "same/config.yaml"), tmp_path / "again")
    assert again.best.read_bytes() == hr.best.read_bytes()
    other = train_hr(replace(quick, seed=1), tmp_path / "other")
    assert other.best.read_bytes() != hr.best.read_bytes()


def test_command_line_trains_what_the_parts_do(quick: HrSettings, hr: Outcome, tmp_path: Path) -> None:
    """The run, put together by hand from the modules below it."""
    from arseg_edge.datasets import hold_out
    from arseg_edge.datasets.encode import Encoding
    from arseg_edge.export.families import edge_family
    from arseg_edge.training.augment import Augmentation
    from arseg_edge.training.batches import Mixture
    from arseg_edge.training.cache import PairSettings, make_pairs
    from arseg_edge.training.loop import LoopSettings, run
    from arseg_edge.training.losses import LossSettings

    dataset, held = hold_out(open_dataset(quick.data[0].path), 3)
    encoding = Encoding(interval=4)
    pairs = make_pairs(dataset, PairSettings(encoding, variants=2), tmp_path)
    validation = make_pairs(held, PairSettings(encoding, variants=1, seed=1), tmp_path)
    family = edge_family(dataset.classes)
    torch.manual_seed(0)
    task = HrTask(family, family.build_hr(), LossSettings(stride=2, region=1.0), validation, torch.device("cpu"))
    loop = LoopSettings(
        epochs=2, batch_size=2, learning_rate=2e-3, optimiser="adamw", weight_decay=0.02, warm_up_steps=2,
        average_decay=0.9, validate_every=1, augmentation=Augmentation(crop=(64, 64)),
    )  # fmt: skip
    outcome = run(task, Mixture([pairs], [1.0], keyframes=False), loop, tmp_path / "run", torch.device("cpu"))
    assert outcome.best.read_bytes() == hr.best.read_bytes()


def test_watcher_is_told(quick: HrSettings, tmp_path: Path) -> None:
    told: dict[str, list[Any]] = {"pairs": [], "step": [], "row": []}
    watcher = Watcher(
        lambda *each: told["pairs"].append(each), lambda *each: told["step"].append(each), told["row"].append
    )
    outcome = train_hr(replace(quick, epochs=1, cache=tmp_path / "pairs"), tmp_path / "run", watcher=watcher)
    # Two clips to train on, two labelled frames each, two variants; one clip to validate on, with one variant.
    assert told["pairs"] == [*((done, 8) for done in range(1, 9)), (1, 2), (2, 2)]
    assert told["step"] == [(1, 2), (2, 2)]
    assert told["row"] == list(outcome.rows)


@pytest.fixture
def begun(hr: Outcome, tmp_path: Path) -> Path:
    """A copy of the folder of the HR run."""
    return Path(shutil.copytree(hr.best.parent, tmp_path / "begun"))


def test_finished_run_is_left_alone(quick: HrSettings, hr: Outcome, begun: Path) -> None:
    before = (begun / "best.pth").read_bytes()
    again = train_hr(replace(quick, threads=None, save_every=1), begun)
    assert again.rows == hr.rows
    assert (begun / "best.pth").read_bytes() == before


def test_run_with_other_settings_is_refused_unless_it_restarts(quick: HrSettings, hr: Outcome, begun: Path) -> None:
    with pytest.raises(UsageError) as raised:
        train_hr(replace(quick, learning_rate=0.5, epochs=1), begun)
    assert str(raised.value) == (
        f"{begun}: this run began with epochs 2, not 1 (and learning_rate differs too): "
        "give another --output, or --restart to train anew"
    )
    assert (begun / "best.pth").read_bytes() == hr.best.read_bytes()
    outcome = train_hr(replace(quick, learning_rate=0.5, epochs=1), begun, restart=True)
    assert len(outcome.rows) == 1
    assert outcome.best.read_bytes() != hr.best.read_bytes()
    assert yaml.safe_load((begun / "config.yaml").read_text())["epochs"] == 1


def test_folder_of_the_other_kind_is_refused(quick: HrSettings, hr: Outcome, lr: Outcome, begun: Path) -> None:
    with pytest.raises(UsageError, match=f"{begun}: holds a run of another kind than train lr: give another --output"):
        train_lr(lr_settings(quick, hr.best), begun)
    with pytest.raises(UsageError, match="lr: holds a run of another kind than train hr"):
        train_hr(quick, lr.best.parent)
    # Nor does a teacher fall to --restart.
    for restart in (False, True):
        with pytest.raises(UsageError, match=r"best\.pth: the teacher lies in the output folder"):
            train_lr(lr_settings(quick, begun / "best.pth"), begun, restart=restart)
    assert (begun / "best.pth").read_bytes() == hr.best.read_bytes()


def test_what_cannot_begin_leaves_the_run_before_it_alone(quick: HrSettings, hr: Outcome, lr: Outcome) -> None:
    with pytest.raises(CheckpointError):
        train_lr(lr_settings(quick, hr.best.parent / "nowhere.pth"), lr.best.parent, restart=True)
    assert {path.name for path in lr.best.parent.iterdir()} == FILES


def test_run_on_changed_data_is_refused(quick: HrSettings, begun: Path) -> None:
    inputs = json.loads((begun / "inputs.json").read_text())
    (begun / "inputs.json").write_text(json.dumps({**inputs, "validation": "others"}))
    with pytest.raises(UsageError, match=f"{begun}: since this run began, validation changed: give another --output"):
        train_hr(quick, begun)
    (begun / "inputs.json").unlink()
    with pytest.raises(UsageError, match=r"inputs\.json: missing or damaged"):
        train_hr(quick, begun)
    (begun / "config.yaml").unlink()
    with pytest.raises(UsageError, match=r"config\.yaml: No such file"):
        train_hr(quick, begun)


def test_run_with_another_teacher_is_refused(quick: HrSettings, hr: Outcome, lr: Outcome, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lr.best.parent, tmp_path / "lr"))
    teacher = Path(shutil.copy(hr.best, tmp_path / "hr.pth"))
    settings = lr_settings(quick, teacher, fusion_from=1)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace(str(hr.best), str(teacher)))
    assert train_lr(settings, folder).rows == lr.rows
    state = torch.load(teacher, weights_only=True)
    state["final_conv.bias"] += 1
    torch.save(state, teacher)
    with pytest.raises(UsageError, match="since this run began, hr changed"):
        train_lr(settings, folder)


def test_several_data_sets_and_exclusions(scenes: Path, tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "other", clips=2, frames=1)
    sources = (DataSource(scenes), DataSource(other))
    settings = HrSettings(data=sources, exclude=("clip1",), hold_out=2)
    opened = open_data(settings)
    names = [[sequence.name for sequence in dataset.sequences] for dataset in (*opened.train, opened.validation)]
    assert names == [["clip0"], ["clip0"], ["clip2"]]
    together = open_data(HrSettings(data=sources[:1], hold_out=None, hold_together=1))
    assert [len(dataset.sequences) for dataset in (*together.train, together.validation)] == [2, 1]
    with pytest.raises(UsageError, match="hold 2 of 3 sequences together: give 1 to 1"):
        open_data(HrSettings(data=sources[:1], hold_together=2))
    apart = open_data(replace(settings, hold_out=None, validation=DataSource(tmp_path / "other"), data=sources[:1]))
    assert [len(dataset.sequences) for dataset in (*apart.train, apart.validation)] == [2, 2]
    with pytest.raises(UsageError, match="exclude: 'clip9': matches no sequence"):
        open_data(replace(settings, exclude=("clip9",)))
    with pytest.raises(DatasetError, match="scenes: no sequence in it"):
        open_data(replace(settings, exclude=(r"clip\d",)))
    with pytest.raises(UsageError, match=f"{other}: it has one sequence, of which none can be held out"):
        open_data(HrSettings(data=sources[1:], exclude=("clip1",)))
    with pytest.raises(UsageError, match=f"{other}: .*clip0.png would be trained on too"):
        open_data(HrSettings(data=sources, validation=sources[1]))


def test_every_labelled_frame_is_as_likely_where_there_are_no_weights(
    quick: HrSettings, scenes: Path, tmp_path: Path
) -> None:
    stills = write_dataset(tmp_path / "stills", clips=3, frames=1)
    settings = replace(quick, data=(DataSource(scenes), DataSource(stills)), variants=(1, 2), hold_out=3)
    pairs = train.make_all_pairs(settings, open_data(settings), tmp_path / "pairs")
    assert [len(cache) for cache in pairs.train] == [4, 3]
    assert [cache.variants for cache in pairs.train] == [1, 2]
    assert pairs.weights == (4.0, 3.0)
    weighted = replace(settings, data=(DataSource(scenes, weight=0.8), DataSource(stills, weight=0.2)))
    assert train.make_all_pairs(weighted, open_data(weighted), tmp_path / "pairs").weights == (0.8, 0.2)


def test_lr_learns_from_neighbours_and_is_judged_half_on_them(
    quick: HrSettings, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, float]] = []

    def record(dataset: Dataset, settings: PairSettings, *rest: Any) -> PairCache:
        asked.append((dataset.name, settings.neighbours))
        return PairCache(tmp_path, 1, 1)

    monkeypatch.setattr(data, "make_pairs", record)
    for settings in (replace(quick, hold_out=3), LrSettings(data=(DataSource(scenes),), hold_out=3)):
        data.make_all_pairs(settings, open_data(settings), tmp_path)
    assert asked == [("scenes", 0.0), ("scenes, held out", 0.0), ("scenes", 0.25), ("scenes, held out", 0.5)]


Broken = Callable[[HrSettings, Path], HrSettings]


def with_data(make: Callable[[Path], object]) -> Broken:
    """Return what changes the data set; its folder is called data."""

    def change(quick: HrSettings, folder: Path) -> HrSettings:
        write_dataset(folder / "data")
        make(folder / "data")
        return replace(quick, data=(DataSource(folder / "data"),))

    return change


def binary_masks(path: Path) -> None:
    for label in (path / "labels").rglob("*.png"):
        cv2.imwrite(str(label), 255 * cv2.imread(str(label), cv2.IMREAD_UNCHANGED))


def set_classes(path: Path) -> None:
    (path / "dataset.yaml").write_text("classes: [one, two]\n")


BROKEN: dict[str, tuple[Broken, type[ArsegError], str]] = {
    "label value": (
        with_data(lambda path: write(path / "labels/clip0/004.png", 7 + 0 * read_labels(path))),
        DatasetError,
        r"labels/clip0/004\.png: label value 7",
    ),
    "size": (
        with_data(lambda path: write(path / "labels/clip0/004.png", read_labels(path)[:32])),
        DatasetError,
        r"labels/clip0/004\.png: 96×32 pixels",
    ),
    "too short": (
        lambda quick, _: replace(quick, interval=6),
        DatasetError,
        r"labels/clip\d/004\.png: labels frame 4 .* interval of 6",
    ),
    "empty split": (
        with_data(
            lambda path: (path / "dataset.yaml").write_text("classes: [a, b]\nsplits: {train: [], val: [clip0]}")
        ),
        DatasetError,
        r"dataset\.yaml: splits: 'train' is empty",
    ),
    "masks of 0 and 255": (
        with_data(binary_masks),
        DatasetError,
        r"no pixel is 'disc', while .* % have the value 255, .*: set values: {0: ground, 255: disc} in dataset\.yaml",
    ),
    "no split": (
        lambda quick, _: replace(quick, data=(replace(quick.data[0], split="x"),)),
        DatasetError,
        "scenes: no split 'x'",
    ),
    "classes of a published family": (
        lambda quick, _: replace(quick, family="camvid-psp18"),
        UsageError,
        r"scenes: its classes \(ground, disc\) are not those of camvid-psp18 \(sky, ",
    ),
    "classes of two data sets": (
        lambda quick, folder: replace(
            with_data(set_classes)(quick, folder), data=(*quick.data, DataSource(folder / "data"))
        ),
        UsageError,
        r"data: its classes \(one, two\) are not those of .*scenes \(ground, disc\)",
    ),
    "family": (lambda quick, _: replace(quick, family="pspnet"), UsageError, "unknown model family 'pspnet'"),
    "stride": (
        lambda quick, _: replace(quick, family="camvid-psp18", loss_stride=2),
        UsageError,
        "loss_stride 2: must divide the 1 by which camvid-psp18 enlarges",
    ),
}


def read_labels(path: Path) -> Any:
    return open_dataset(path).read_labels(path / "labels/clip0/004.png")


@pytest.mark.parametrize("name", BROKEN)
def test_data_that_does_not_fit(name: str, quick: HrSettings, tmp_path: Path) -> None:
    change, kind, complaint = BROKEN[name]
    with pytest.raises(kind, match=complaint) as raised:
        train_hr(replace(change(quick, tmp_path), cache=tmp_path / "pairs"), tmp_path / "run")
    assert "\n" not in str(raised.value)


def test_checkpoint_that_does_not_fit(quick: HrSettings, hr: Outcome, lr: Outcome, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.pth does not exist"):
        train_lr(lr_settings(quick, tmp_path / "nowhere.pth"), tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"best\.pth does not fit edge: .* unexpected .*: give this family's HR"):
        train_lr(lr_settings(quick, lr.best), tmp_path / "run")
    other = tmp_path / "other.pth"
    torch.save({"layer.weight": torch.zeros(3)}, other)
    with pytest.raises(CheckpointError, match=r"other\.pth does not fit edge"):
        train_lr(lr_settings(quick, other), tmp_path / "run")
    with_data(set_classes)(quick, tmp_path)
    settings = lr_settings(quick, hr.best, data=(DataSource(tmp_path / "data"),))
    with pytest.raises(CheckpointError, match=r"best\.pth: trained for the classes ground, disc, but .* one, two"):
        train_lr(settings, tmp_path / "run")


def test_folders_that_cannot_be_written(quick: HrSettings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/config\.yaml: cannot be written"):
        train_hr(quick, tmp_path / "file")
    with pytest.raises(OutputError, match=r"file/scenes-.*: cannot be made"):
        train_hr(replace(quick, cache=tmp_path / "file"), tmp_path / "run")


def test_nan_stops_a_run(quick: HrSettings, tmp_path: Path) -> None:
    settings = replace(quick, learning_rate=1e18, optimiser="sgd", average=0.0, epochs=4, warm_up=0)
    with pytest.raises(TrainingError, match=r"step \d: the loss is no finite number \(segmentation nan"):
        train_hr(settings, tmp_path)


def test_device_that_is_not_there(quick: HrSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ProviderError, match="--device cuda: this PyTorch finds no CUDA device"):
        train_hr(replace(quick, device="cuda"), tmp_path)


@pytest.mark.cuda
def test_cuda_trains_in_mixed_precision(quick: HrSettings, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        if os.environ.get("ARSEG_EDGE_REQUIRE_CUDA") == "1":
            pytest.fail("PyTorch finds no CUDA device")
        pytest.skip("needs a CUDA device")
    settings = replace(quick, device="cuda")
    one, other = (train_hr(settings, tmp_path / name) for name in ("one", "other"))
    first, again = (read_checkpoint(outcome.best).tensors for outcome in (one, other))
    for name, value in first.items():
        torch.testing.assert_close(value, again[name], rtol=1e-3, atol=1e-5)
    outcome = train_lr(lr_settings(settings, one.best, fusion_from=1), tmp_path / "lr")
    assert 0 < outcome.score <= 100
