"""What HR and LR training minimise, on real pairs: feature similarity training as the paper has it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from arseg_edge.datasets import open_dataset
from arseg_edge.datasets.encode import Encoding
from arseg_edge.evaluation.confusion import confusion_matrix, mean_iou
from arseg_edge.export.families import Family, edge_family, find_family
from arseg_edge.export.models import FusionNetwork
from arseg_edge.export.models.resizing import resize
from arseg_edge.lr_size import lr_size
from arseg_edge.training.augment import Augmentation
from arseg_edge.training.batches import Batch, Mixture, batches
from arseg_edge.training.cache import PairCache, PairSettings, make_pairs
from arseg_edge.training.hr import HrTask
from arseg_edge.training.loop import LoopSettings, run
from arseg_edge.training.losses import LossSettings
from arseg_edge.training.lr import FusionSettings, LrTask, fuse, make_student
from arseg_edge.training.networks import head, normalise
from arseg_edge.training.pairs import LabelledFrame

CPU = torch.device("cpu")
AUGMENTATION = Augmentation(crop=(64, 64), smallest=0.9, largest=1.2)
LOSS = LossSettings(stride=2)


@pytest.fixture(scope="module")
def cache(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> PairCache:
    settings = PairSettings(Encoding(interval=4), variants=2)
    return make_pairs(open_dataset(scenes), settings, tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def family(scenes: Path) -> Family:
    return edge_family(open_dataset(scenes).classes)


@pytest.fixture(scope="module")
def batch(cache: PairCache) -> Batch:
    return Mixture([cache], [1.0]).batch(0, 4, AUGMENTATION, seed=0)


def hr_network(family: Family) -> nn.Module:
    torch.manual_seed(0)
    return cast(nn.Module, family.build_hr())


def lr_task(family: Family, cache: PairCache, fusion: FusionSettings) -> LrTask:
    teacher = hr_network(family).requires_grad_(False)
    return LrTask(family, make_student(family, teacher), teacher, LOSS, fusion, cache, CPU)


def trained(cache: PairCache, folder: Path, task: HrTask | LrTask, epochs: int = 8) -> tuple[float, float]:
    """Train for some steps; return the sum of the losses in the first epoch and in the last."""
    settings = LoopSettings(
        epochs=epochs, batch_size=2, learning_rate=3e-3, validate_every=epochs, augmentation=AUGMENTATION
    )
    mixture = Mixture([cache], [1.0], keyframes=isinstance(task, LrTask))
    rows = run(task, mixture, settings, folder, CPU).rows
    return sum(rows[0].losses.values()), sum(rows[-1].losses.values())


def test_images_are_normalised_as_in_the_deployed_model(family: Family, batch: Batch) -> None:
    expected = (batch.image.numpy().astype(np.float64) / 255 - family.mean) / family.std
    np.testing.assert_allclose(normalise(family, batch.image).permute(0, 2, 3, 1), expected, atol=1e-5)


def test_hr_learns(family: Family, cache: PairCache, tmp_path: Path) -> None:
    task = HrTask(family, hr_network(family), LossSettings(stride=2, region=1.0), cache, CPU)
    first, last = trained(cache, tmp_path, task)
    assert last < 0.7 * first
    assert 40 < task.validate(task.network.eval(), 0) <= 100


def test_validation_is_the_miou_of_all_pairs(family: Family, cache: PairCache) -> None:
    network = hr_network(family).eval()
    confusion = np.zeros((2, 2), np.int64)
    for item in range(len(cache)):
        for variant in range(cache.variants):
            pair = cache.read(item, variant)
            with torch.no_grad():
                feature = network.feature(normalise(family, torch.from_numpy(pair.image)[None]))  # type: ignore[operator]
                scores = nn.functional.interpolate(head(network)(feature), scale_factor=8, mode="bilinear")
            confusion += confusion_matrix(pair.labels, scores[0].argmax(0).to(torch.uint8).numpy(), 2)
    found = HrTask(family, network, LOSS, cache, CPU).validate(network, 0)
    assert found == pytest.approx(100 * float(mean_iou(confusion)), abs=0.02)


@pytest.mark.parametrize("from_teacher", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_student_has_the_teachers_last_layer_and_it_alone_is_frozen(
    family: Family, from_teacher: bool, fused: bool
) -> None:
    teacher = hr_network(family)
    torch.manual_seed(1)
    student = make_student(family, teacher, from_teacher, fused)
    for found, expected in zip(head(student).parameters(), head(teacher).parameters(), strict=True):
        assert torch.equal(found, expected)
    frozen = {name for name, each in student.named_parameters() if not each.requires_grad}
    assert frozen == {"final_conv.weight", "final_conv.bias"}
    others = [name for name in teacher.state_dict() if not name.startswith("final_conv")]
    equal = [torch.equal(student.state_dict()[name], teacher.state_dict()[name]) for name in others]
    # What is fused from the first step on begins with less of the LR feature.
    assert all(equal) == (from_teacher and not fused)
    assert np.mean(equal) > 0.9 if from_teacher else np.mean(equal) < 0.9


def test_fusion_from_the_first_step_on_starts_with_nine_tenths_of_the_keyframe(family: Family) -> None:
    """Where attention sees one place alone, its weight is 1, and what comes out is plain to see."""
    family = replace(family, kernel_size=1)
    teacher = hr_network(family)
    student = cast(FusionNetwork, make_student(family, teacher))
    image, keyframe_feature = torch.rand(1, 3, 32, 32), torch.rand(1, 64, 8, 8)
    with torch.no_grad():
        fused = student.fuse_attention(student.feature(image), keyframe_feature, torch.zeros(1, 64, 64, 2)).fused
        # LR's own last step starts as a mere enlargement.
        lr_feature = resize(cast(FusionNetwork, teacher).feature(image), (8, 8))
    torch.testing.assert_close(fused, 0.9 * keyframe_feature + 0.1 * lr_feature)


def test_attention_that_is_not_trained_yet_goes_to_the_same_thing(family: Family) -> None:
    """A keyframe's feature that is the frame's own, one pixel further right and without motion, is found again."""
    family = replace(family, kernel_size=3)
    fusion = cast(FusionNetwork, make_student(family, hr_network(family))).fuse_attention
    feature = 3 * torch.randn(1, 64, 12, 13, generator=torch.Generator().manual_seed(0))
    lr_feature, keyframe_feature = feature[..., 1:], feature[..., :-1]
    with torch.no_grad():
        attended = fusion(lr_feature, keyframe_feature, torch.zeros(1, 96, 96, 2)).fused - lr_feature
    inside = np.s_[..., 2:-2, 2:-2]
    torch.testing.assert_close(attended[inside], 0.9 * lr_feature[inside], atol=1e-3, rtol=0)


def test_lr_learns_and_leaves_the_teacher_and_the_last_layer_alone(
    family: Family, cache: PairCache, tmp_path: Path
) -> None:
    task = lr_task(family, cache, FusionSettings(from_epoch=1))
    before = {name: value.clone() for name, value in task.teacher.state_dict().items()}
    student = {name: value.clone() for name, value in task.network.state_dict().items()}
    first, last = trained(cache, tmp_path, task)
    assert last < first
    assert not task.teacher.training
    for name, value in task.teacher.state_dict().items():
        assert torch.equal(value, before[name]), name
    after = task.network.state_dict()
    for name in ("final_conv.weight", "final_conv.bias"):
        assert torch.equal(after[name], before[name])
    for name in ("quarter.0.0.weight", "fuse_attention.hr_value_conv.weight", "fuse_attention.hr_value_conv.bias"):
        assert not torch.equal(after[name], student[name])
    assert 0 < task.validate(task.network.eval(), 7) <= 100  # type: ignore[operator]


def parts_of(task: LrTask, batch: Batch, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the loss looks at, found anew: LR feature resized, fused feature, the teacher's of the same frame."""
    assert batch.keyframe is not None
    assert batch.motion is not None
    network, teacher = cast(FusionNetwork, task.network), cast(FusionNetwork, task.teacher)
    image, keyframe = (normalise(task.family, each) for each in (batch.image, batch.keyframe))
    with torch.no_grad():
        lr_feature = network.feature(resize(image, lr_size(64, 64, task.fusion.scale)))
        target = teacher.feature(image)
        fused = network.fuse_attention(lr_feature, teacher.feature(keyframe), batch.motion.float()).fused
    return resize(lr_feature, (target.shape[2], target.shape[3])), fused, target


@pytest.mark.parametrize("scale", [0.5, 0.4])
def test_similarity_is_the_mean_squared_error_to_hrs_feature_with_fusion_from_its_epoch_on(
    family: Family, cache: PairCache, batch: Batch, scale: float
) -> None:
    task = lr_task(family, cache, FusionSettings(scale=scale, from_epoch=3, similarity=0.25))
    for epoch, fused_now in ((0, False), (2, False), (3, True), (9, True)):
        alone, fused, target = parts_of(task, batch, epoch)
        feature = fused if fused_now else alone
        expected = 0.25 * np.mean((feature.numpy().astype(np.float64) - target.numpy()) ** 2)
        parts = task.losses(batch, epoch)
        assert list(parts) == ["segmentation", "similarity"]
        assert parts["similarity"].item() == pytest.approx(expected, rel=1e-4)
        sum(parts.values()).backward()  # type: ignore[union-attr]
        value = task.network.fuse_attention.hr_value_conv.weight.grad  # type: ignore[union-attr]
        assert (value is not None and bool(value.any())) == fused_now
        task.network.zero_grad(set_to_none=True)
    assert task.validate(task.network, 2) is None
    assert "similarity" not in replace(task, fusion=FusionSettings(similarity=0)).losses(batch, 0)


def test_segmentation_looks_at_the_fused_feature_through_the_frozen_layer(
    family: Family, cache: PairCache, batch: Batch
) -> None:
    task = lr_task(family, cache, FusionSettings())
    loss = replace(task, loss=LossSettings()).losses(batch, 0)["segmentation"]
    _, fused, _ = parts_of(task, batch, 0)
    with torch.no_grad():
        scores = nn.functional.interpolate(head(task.network)(fused), scale_factor=8, mode="bilinear")
        expected = nn.functional.cross_entropy(scores, batch.labels.long(), ignore_index=255)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_ablations(family: Family, cache: PairCache, batch: Batch) -> None:
    task = lr_task(family, cache, FusionSettings())
    keyframe_feature, lr_feature = torch.rand(1, 64, 8, 8), torch.rand(1, 64, 4, 4)
    right = torch.tensor([8.0, 0.0]).expand(1, 64, 64, 2)
    resized = resize(lr_feature, (8, 8))
    with torch.no_grad():
        added = fuse(task.network, lr_feature, keyframe_feature, right, FusionSettings(kind="sum"))
        still = fuse(task.network, lr_feature, keyframe_feature, right, FusionSettings(motion=False))
        attention = cast(FusionNetwork, task.network).fuse_attention
        zero = attention(lr_feature, keyframe_feature, torch.zeros_like(right)).fused
    # Eight pixels of the image are one of the feature.
    torch.testing.assert_close(added[..., :-1], (resized[..., :-1] + keyframe_feature[..., 1:]))
    torch.testing.assert_close(still, zero)


@pytest.mark.parametrize("name", ["camvid-psp18", "camvid-bise18", "cityscapes-psp18"])
def test_published_families_have_their_losses(name: str, cache: PairCache, batch: Batch) -> None:
    family = find_family(name)
    hard = 0.7 if "bise18" in name else None
    loss = LossSettings(hard_examples=hard)
    teacher = hr_network(family)
    hr = HrTask(family, teacher.train(), loss, cache, CPU).losses(batch, 0)
    assert list(hr) == ["segmentation", "auxiliary"]
    student = make_student(family, teacher.eval().requires_grad_(False), from_teacher=False)
    lr = LrTask(family, student.train(), teacher, loss, FusionSettings(), cache, CPU).losses(batch, 0)
    assert list(lr) == ["segmentation", "auxiliary", "similarity"]
    sum(lr.values()).backward()  # type: ignore[union-attr]
    moved = {key for key, each in student.named_parameters() if each.grad is not None}
    frozen = {key for key, each in student.named_parameters() if not each.requires_grad}
    assert {key for key, _ in student.named_parameters()} - moved == frozen
    assert all(each.grad is None for each in teacher.parameters() if not each.requires_grad)


def test_batches_follow_from_seed_and_step_alone(cache: PairCache) -> None:
    mixture = Mixture([cache, replace(cache, items=1)], [3.0, 1.0])
    assert len(mixture) == 7
    made = dict(batches(mixture, 2, 9, 3, AUGMENTATION, seed=5))
    assert list(made) == list(range(2, 9))
    for step in (8, 2):
        again = mixture.batch(step, 3, AUGMENTATION, seed=5)
        for one, other in zip(made[step], again, strict=True):
            assert one is not None
            assert torch.equal(one, other)
    assert not torch.equal(made[2].image, made[3].image)
    assert not torch.equal(made[2].image, mixture.batch(2, 3, AUGMENTATION, seed=6).image)
    alone = replace(mixture, keyframes=False).batch(8, 3, AUGMENTATION, seed=5)
    assert torch.equal(alone.image, made[8].image)
    assert torch.equal(alone.labels, made[8].labels)
    assert alone.keyframe is alone.motion is None


@dataclass(frozen=True)
class Numbered(PairCache):
    """Pictures of one grey level, which says what was drawn."""

    first: int = 0

    def read_frame(self, item: int, variant: int) -> LabelledFrame:
        level = self.first + 2 * item + variant
        return LabelledFrame(np.full((64, 64, 3), level, np.uint8), np.zeros((64, 64), np.uint8))


def test_data_sets_are_drawn_from_by_weight_and_their_frames_alike() -> None:
    mixture = Mixture([Numbered(Path(), 3, 2), Numbered(Path(), 6, 2, first=100)], [4.0, 1.0], keyframes=False)
    same = Augmentation((64, 64), 1.0, 1.0, 0.0, False, 0.0)
    drawn = np.concatenate([mixture.batch(step, 20, same, seed=0).image[:, 0, 0, 0].numpy() for step in range(400)])
    assert np.mean(drawn < 100) == pytest.approx(0.8, abs=0.03)
    for first, count in ((0, 6), (100, 12)):
        levels, times = np.unique(drawn[(drawn >= first) & (drawn < first + 100)], return_counts=True)
        assert list(levels) == list(range(first, first + count))
        assert times.min() > 0.7 * times.mean()
