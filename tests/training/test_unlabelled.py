"""LR and CReFF from videos without labels: what is minimised, how weights are chosen, and whole runs."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from moving_scenes import write_dataset
from test_stretches import encoded, scene
from torch import Tensor, nn

from arseg_edge.datasets import IGNORED, open_dataset
from arseg_edge.demo import demo_bundle
from arseg_edge.errors import CheckpointError, DatasetError, SourceError, UsageError
from arseg_edge.export.bundle_weights import read_ar, read_hr
from arseg_edge.export.checkpoint import load_hr, read_checkpoint
from arseg_edge.export.families import edge_family
from arseg_edge.palette import CAMVID_11
from arseg_edge.training.augment import Augmentation
from arseg_edge.training.batch_statistics import restate_statistics
from arseg_edge.training.batches import Batch, Mixture
from arseg_edge.training.config import read_settings
from arseg_edge.training.data import make_all_pairs, open_data
from arseg_edge.training.loop import Outcome
from arseg_edge.training.losses import LossSettings, soft_label_loss
from arseg_edge.training.lr import FusionSettings, LrTask, make_student
from arseg_edge.training.networks import head, normalise
from arseg_edge.training.settings import HrSettings, LrSettings
from arseg_edge.training.stretches import StretchSettings, make_stretches
from arseg_edge.training.train import Watcher, train_hr, train_lr
from arseg_edge.training.validate import as_batch
from arseg_edge.training.values import DataSource

CPU = torch.device("cpu")
FRAMES = 14


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos, in natural order drive1, drive2, and drive10 in a folder of its own."""
    folder = tmp_path_factory.mktemp("videos") / "drives"
    (folder / "later").mkdir(parents=True)
    for seed, name in enumerate(("drive1.mp4", "drive2.mkv", "later/drive10.mp4")):
        encoded(folder / name, [scene(index, seed) for index in range(FRAMES)])
    (folder / "notes.txt").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def hr(quick: HrSettings, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return train_hr(quick, tmp_path_factory.mktemp("runs") / "hr")


@pytest.fixture(scope="module")
def settings(quick: HrSettings, videos: Path, hr: Outcome) -> LrSettings:
    return LrSettings(**{**vars(quick), "data": (), "videos": (DataSource(videos),), "hr": hr.best})


@pytest.fixture(scope="module")
def task(quick: HrSettings, videos: Path, hr: Outcome, tmp_path_factory: pytest.TempPathFactory) -> LrTask:
    """On the first video, judged on the second."""
    family = edge_family(open_dataset(quick.data[0].path).classes)
    teacher = cast(nn.Module, load_hr(family, read_checkpoint(hr.best))).requires_grad_(False)
    (held,) = make_stretches([videos / "drive2.mkv"], StretchSettings(4, variants=2), tmp_path_factory.mktemp("pairs"))
    return LrTask(
        family, make_student(family, teacher), teacher, LossSettings(stride=2, region=1.0), FusionSettings(),
        (held.all,), CPU, soft_labels=1.0,
    )  # fmt: skip


def test_soft_label_loss_is_the_divergence_of_the_probabilities() -> None:
    rng = np.random.default_rng(0)
    scores, teacher = rng.normal(0, 2, (2, 2, 5, 3, 4))
    p, q = (np.exp(each) / np.exp(each).sum(1, keepdims=True) for each in (teacher, scores))
    expected = (p * np.log(p / q)).sum(1).mean()
    found = soft_label_loss(torch.from_numpy(scores), torch.from_numpy(teacher))
    assert found.item() == pytest.approx(expected, rel=1e-6)
    assert soft_label_loss(torch.from_numpy(teacher), torch.from_numpy(teacher) + 3).item() == pytest.approx(
        0, abs=1e-9
    )


def batch_of(task: LrTask, labels: Tensor | None = None) -> Batch:
    """Return four pairs of the held-back video, with labels for the first of them where some are given."""
    assert isinstance(task.held, tuple)
    batch = Mixture(task.held, [1.0]).batch(0, 4, Augmentation(crop=(64, 64)), seed=0)
    assert (batch.labels == IGNORED).all()
    if labels is None:
        return batch
    mixed = batch.labels.clone()
    mixed[: len(labels)] = labels
    return batch._replace(labels=mixed)


def test_frames_without_labels_learn_from_hr_alone(task: LrTask) -> None:
    parts = task.losses(batch_of(task), 0)
    assert parts.keys() == {"soft labels", "similarity"}
    assert all(part.item() > 0 for part in parts.values())
    doubled = replace(task, soft_labels=2.0).losses(batch_of(task), 0)
    assert doubled["soft labels"].item() == pytest.approx(2 * parts["soft labels"].item(), rel=0.1)
    # A student that sees what HR sees, and takes nothing else, says what HR says.
    itself = replace(task, fusion=replace(task.fusion, scale=1.0, from_epoch=1), network=task.teacher)
    for part in itself.losses(batch_of(task), 0).values():
        assert part.item() == pytest.approx(0, abs=1e-6)


def test_labels_join_in_by_their_share_of_the_batch(task: LrTask) -> None:
    labels = torch.randint(0, 2, (1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mixed = batch_of(task, labels)

    def part_of(batch: Batch, which: slice) -> Batch:
        return Batch(*(each[which] for each in batch if each is not None))

    task.network.eval()  # a frame must not depend on the others of its batch
    task = replace(task, loss=LossSettings(region=1.0))
    found = task.losses(mixed, 0)
    labelled, unlabelled = task.losses(part_of(mixed, slice(1)), 0), task.losses(part_of(mixed, slice(1, 4)), 0)
    assert labelled.keys() == {"segmentation", "region", "similarity"}
    for name in ("segmentation", "region"):
        assert found[name].item() == pytest.approx(labelled[name].item() / 4, rel=1e-4)
    assert found["soft labels"].item() == pytest.approx(unlabelled["soft labels"].item() * 3 / 4, rel=1e-4)


def test_auxiliary_heads_learn_what_hr_says(task: LrTask) -> None:
    batch = batch_of(task)
    with torch.no_grad():
        feature = task.teacher.feature(normalise(task.family, batch.image))  # type: ignore[operator]
        logits = head(task.teacher)(feature)
        said = nn.functional.interpolate(logits, scale_factor=8, mode="bilinear").argmax(1)
        labels = task._completed(batch.labels, torch.tensor([True, True, False, True]), logits[[0, 1, 3]])
    assert (labels[[0, 1, 3]] == said[[0, 1, 3]]).float().mean() > 0.999
    assert (labels[2] == IGNORED).all()


def test_validation_is_the_share_of_pixels_labelled_as_hr_does(task: LrTask) -> None:
    assert task.measure == "agreement"
    torch.manual_seed(5)
    task = replace(task, teacher=copy.deepcopy(task.teacher))
    nn.init.normal_(head(task.teacher).weight)
    network = make_student(task.family, task.teacher, from_teacher=False)
    alike = pixels = 0
    assert isinstance(task.held, tuple)
    (cache,) = task.held
    for item in range(len(cache)):
        for variant in range(2):
            image, keyframe, motion = as_batch(cache.read(item, variant), CPU)
            with torch.no_grad():
                small = nn.functional.interpolate(
                    normalise(task.family, image), size=(32, 48), mode="bilinear", align_corners=False
                )
                key = task.teacher.feature(normalise(task.family, keyframe))  # type: ignore[operator]
                fused = network.fuse_attention(network.feature(small), key, motion).fused  # type: ignore[operator]
                theirs = head(task.teacher)(task.teacher.feature(normalise(task.family, image)))  # type: ignore[operator]
                ours, theirs = (
                    nn.functional.interpolate(each, scale_factor=8, mode="bilinear").argmax(1)
                    for each in (head(network)(fused), theirs)
                )
            alike += int((ours == theirs).sum())
            pixels += ours.numel()
    assert task.validate(network, 0) == pytest.approx(100 * alike / pixels, abs=0.3)
    assert 0 < alike < pixels


def test_a_run_without_any_label(settings: LrSettings, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    watcher = Watcher(on_videos=lambda *each: told.append(each))
    outcome = train_lr(replace(settings, cache=tmp_path / "pairs"), tmp_path / "lr", watcher=watcher)
    assert told == [(1, 2), (2, 2), (1, 1)]
    assert outcome.measure == "agreement"
    assert 0 < outcome.score <= 100
    assert [row.losses.keys() for row in outcome.rows] == [{"soft labels", "similarity"}] * 2
    assert (tmp_path / "lr/curves.csv").read_text().splitlines()[0].endswith("soft labels,similarity,agreement")
    checkpoint = read_checkpoint(outcome.best)
    assert checkpoint.classes == read_checkpoint(cast(Path, settings.hr)).classes
    assert "fuse_attention.hr_key_conv.weight" in checkpoint.tensors
    inputs = json.loads((tmp_path / "lr/inputs.json").read_text())
    assert [name.rsplit("-", 1)[0] for name in inputs["data"]] == ["drive1", "drive10"]
    assert [name.rsplit("-", 1)[0] for name in inputs["validation"]] == ["drive2"]
    # The file of settings that was left trains the same again.
    again = train_lr(read_settings(LrSettings, {}, tmp_path / "lr/config.yaml"), tmp_path / "again")
    assert again.best.read_bytes() == outcome.best.read_bytes()


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(settings: LrSettings, tmp_path: Path) -> None:
    whole = train_lr(settings, tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_lr(settings, tmp_path / "parts", watcher=Watcher(on_step=stop))
    parts = train_lr(settings, tmp_path / "parts")
    for name in ("best.pth", "curves.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert parts.score == whole.score


def test_a_video_that_changed_since_is_noticed(settings: LrSettings, tmp_path: Path) -> None:
    video = encoded(tmp_path / "drive.mp4", [scene(index) for index in range(20)])
    alone = replace(settings, videos=(DataSource(video),))
    train_lr(alone, tmp_path / "lr")
    encoded(video, [scene(index, seed=5) for index in range(21)])
    with pytest.raises(UsageError, match="since this run began, data and validation changed"):
        train_lr(alone, tmp_path / "lr")


def test_what_is_held_back(settings: LrSettings, videos: Path, tmp_path: Path) -> None:
    def names(changes: dict[str, Any]) -> tuple[list[list[str]], list[str]]:
        data = open_data(replace(settings, **changes))
        return [[path.stem for path in each] for each in data.videos], [path.stem for path in data.held_videos]

    assert names({}) == ([["drive1", "drive10"]], ["drive2"])
    assert names({"exclude": ("later/.*",)}) == ([["drive1"]], ["drive2"])
    assert names({"hold_out": 2}) == ([["drive1", "drive10"]], ["drive2"])
    one = DataSource(videos / "drive1.mp4")
    assert names({"videos": (one,)}) == ([["drive1"]], [])
    assert names({"videos": (DataSource(videos / "later"), one)}) == ([["drive10"], []], ["drive1"])
    # Labels to validate on take the place of videos.
    labelled = {"validation": DataSource(write_dataset(tmp_path / "held"))}
    assert names(labelled) == ([["drive1", "drive2", "drive10"]], [])


def test_one_video_holds_back_its_end(settings: LrSettings, videos: Path) -> None:
    alone = replace(settings, videos=(DataSource(videos / "drive1.mp4"),), hold_out=None)
    pairs = make_all_pairs(alone, open_data(alone), cast(Path, settings.cache))
    (train,), held = pairs.train, pairs.held
    assert isinstance(held, tuple)
    assert (train.folder, held[0].folder) == (held[0].folder, train.folder)
    assert len(train) + 3 < held[0].first + len(held[0]) + 3
    assert len(held[0]) == 1


def test_labels_and_weights_of_sources(settings: LrSettings, scenes: Path, videos: Path) -> None:
    both = replace(settings, data=(DataSource(scenes),))
    pairs = make_all_pairs(both, open_data(both), cast(Path, settings.cache))
    # Nothing of the labelled data is held out, since videos judge.
    assert [len(cache) for cache in pairs.train] == [6, *(len(cache) for cache in pairs.train[1:])]
    assert pairs.weights == tuple(float(len(cache)) for cache in pairs.train)
    assert isinstance(pairs.held, tuple)
    weighted = replace(both, data=(DataSource(scenes, weight=0.25),), videos=(DataSource(videos, weight=0.75),))
    weights = make_all_pairs(weighted, open_data(weighted), cast(Path, settings.cache)).weights
    assert weights[0] == 0.25
    assert sum(weights[1:]) == pytest.approx(0.75)
    with pytest.raises(UsageError, match="data and videos: 1 of 2 have a weight"):
        replace(both, data=(DataSource(scenes, weight=0.25),))


def test_a_run_with_labels_beside(settings: LrSettings, scenes: Path, tmp_path: Path) -> None:
    outcome = train_lr(replace(settings, data=(DataSource(scenes),), epochs=1), tmp_path / "both")
    assert outcome.measure == "agreement"
    assert {"segmentation", "region", "soft labels", "similarity"} == set(outcome.rows[-1].losses)
    judged = train_lr(replace(settings, validation=DataSource(scenes), epochs=1), tmp_path / "judged")
    assert judged.measure == "miou"


@pytest.fixture(scope="module")
def restated() -> tuple[nn.Module, nn.Module, Tensor]:
    """The demo model's HR as it comes out of its bundle, the same with statistics, and images."""
    weights, family = read_hr(demo_bundle()), edge_family(CAMVID_11)
    bare, network = (cast(nn.Module, load_hr(family, weights)) for _ in range(2))
    images = torch.from_numpy(np.stack([scene(index) for index in range(8)]))
    images = normalise(family, nn.functional.interpolate(images.permute(0, 3, 1, 2), (128, 192)).permute(0, 2, 3, 1))
    restate_statistics(network, [images[:4], images[4:]])
    return bare, network, images


@torch.no_grad()
def test_statistics_change_nothing_but_how_training_begins(restated: tuple[nn.Module, nn.Module, Tensor]) -> None:
    bare, network, images = restated
    expected = bare.feature(images)  # type: ignore[operator]
    torch.testing.assert_close(network.feature(images), expected, atol=2e-4, rtol=1e-3)  # type: ignore[operator]
    # By batches, the bare one computes something else altogether.
    scale = expected.abs().mean()
    off = [(each.train().feature(images) - expected).abs().mean() / scale for each in (network, bare)]  # type: ignore[operator]
    assert off[0] < 0.1
    assert off[1] > 0.5


def test_a_bundle_teaches(settings: LrSettings, tmp_path: Path) -> None:
    teacher = read_settings(LrSettings, {"hr": str(demo_bundle()), "videos": [str(settings.videos[0].path)]})
    assert (teacher.family, teacher.hr) == ("edge", demo_bundle())
    outcome = train_lr(replace(settings, hr=demo_bundle(), epochs=1, average=0.0), tmp_path / "lr")
    assert read_checkpoint(outcome.best).classes == CAMVID_11
    found, expected = read_checkpoint(outcome.best).tensors, read_hr(demo_bundle()).tensors
    assert torch.equal(found["final_conv.weight"], expected["final_conv.weight"])


def test_a_run_begins_where_a_bundles_lr_network_stands(settings: LrSettings, tmp_path: Path) -> None:
    begun = replace(settings, hr=demo_bundle(), start=demo_bundle(), epochs=1, learning_rate=1e-9, average=0.0)
    outcome = train_lr(begun, tmp_path / "lr")
    found = read_checkpoint(outcome.best).tensors
    for name, value in read_ar(demo_bundle()).tensors.items():
        if value.ndim == 4 or "fuse_attention" in name:  # normalisations have statistics of their own
            torch.testing.assert_close(found[name], value)
    with pytest.raises(CheckpointError, match=r"nowhere\.pth does not exist"):
        train_lr(replace(begun, start=tmp_path / "nowhere.pth"), tmp_path / "other")


def test_what_is_refused(settings: LrSettings, scenes: Path, videos: Path, tmp_path: Path) -> None:
    def refused(kind: type[Exception], complaint: str, **changes: Any) -> None:
        with pytest.raises(kind, match=complaint) as raised:
            train_lr(replace(settings, **changes), tmp_path / "run")
        assert "\n" not in str(raised.value)

    def of(path: Path) -> tuple[DataSource, ...]:
        return (DataSource(path),)

    (tmp_path / "empty").mkdir()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/1.png").touch()
    (tmp_path / "broken.mp4").write_text("no video")
    short = encoded(tmp_path / "short.mp4", [scene(index) for index in range(5)])
    refused(DatasetError, r"empty: the folder is empty: put videos there", videos=of(tmp_path / "empty"))
    refused(DatasetError, r"pictures: no video in it, only files of other kinds", videos=of(tmp_path / "pictures"))
    refused(DatasetError, r"nowhere: no such file or folder", videos=of(tmp_path / "nowhere"))
    refused(SourceError, r"broken\.mp4: ", videos=of(tmp_path / "broken.mp4"))
    refused(DatasetError, r"short\.mp4: it is too short, with 5 frames, to hold some back", videos=of(short))
    refused(UsageError, r"exclude: 'drive9': matches no sequence", exclude=("drive9",))
    refused(UsageError, r"exclude: no video of 3 is left", exclude=(".*drive.*",))
    refused(UsageError, r"hold_out 4: there are 3 videos: give 2 to 3", hold_out=4)
    refused(UsageError, r"hold_together 2: there are 3 videos: give 1 to 1", hold_together=2)
    twice = (DataSource(videos), DataSource(videos / "later"))
    refused(UsageError, r"later/drive10\.mp4: it is named twice, by .*drives and by .*later: leave one", videos=twice)
    refused(UsageError, "soft_labels and similarity are 0: nothing is left", soft_labels=0.0, similarity=0.0)
    refused(UsageError, "nothing to train on: give videos, or data with labels", videos=())
    refused(CheckpointError, r"best\.pth: trained for the classes ground, disc", validation=other_classes(tmp_path))
    assert not (tmp_path / "run/best.pth").exists()


def other_classes(folder: Path) -> DataSource:
    path = write_dataset(folder / "other")
    (path / "dataset.yaml").write_text("classes: [one, two]\n")
    return DataSource(path)
