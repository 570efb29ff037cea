"""Losses against twins in NumPy, which follow the definitions pixel by pixel, in double precision."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from arseg_edge.datasets import IGNORED
from arseg_edge.errors import UsageError
from arseg_edge.export.families import edge_family, find_family
from arseg_edge.palette import ClassSet, distinct_colours
from arseg_edge.training.losses import (
    LossSettings,
    auxiliary_losses,
    hard_example_loss,
    region_loss,
    score_pixels,
    segmentation_loss,
    segmentation_losses,
)
from arseg_edge.training.settings import HrSettings
from arseg_edge.training.train import loss_stride_for

Array = npt.NDArray[np.float64]
CLASSES = 4
FAMILY = edge_family(ClassSet(tuple("abcd"), distinct_colours(CLASSES)))


@pytest.fixture
def scores() -> Tensor:
    return 3 * torch.randn(2, CLASSES, 9, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labels() -> Tensor:
    """Class 3 is in no picture, and a fifth of the pixels is ignored."""
    random = np.random.default_rng(0)
    drawn = random.integers(0, CLASSES - 1, (2, 9, 12))
    return torch.from_numpy(np.where(random.random(drawn.shape) < 0.2, IGNORED, drawn))


def probabilities(scores: Tensor) -> Array:
    powers = np.exp(scores.double().numpy())
    return powers / powers.sum(1, keepdims=True)


def entropies(scores: Tensor, labels: Tensor) -> Array:
    """Minus the logarithm of the true class's probability, of each labelled pixel."""
    found = probabilities(scores)
    places = np.argwhere(labels.numpy() != IGNORED)
    return np.array([-np.log(found[n, labels[n, y, x], y, x]) for n, y, x in places])


def test_cross_entropy_is_the_mean_over_labelled_pixels(scores: Tensor, labels: Tensor) -> None:
    assert segmentation_loss(scores, labels).item() == pytest.approx(entropies(scores, labels).mean(), rel=1e-5)


def regions(scores: Tensor, labels: Tensor) -> float:
    """1 − the mean over the classes that are there of sum(p·t) / sum(p + t − p·t)."""
    found, truth = probabilities(scores), labels.numpy()
    ratios = []
    for index in set(truth[truth != IGNORED]):
        p, t = found[:, index][truth != IGNORED], (truth == index)[truth != IGNORED].astype(float)
        ratios.append((p * t).sum() / (p + t - p * t).sum())
    return 1 - float(np.mean(ratios))


def test_region_loss_is_one_minus_the_smooth_iou(scores: Tensor, labels: Tensor) -> None:
    assert region_loss(scores, labels).item() == pytest.approx(regions(scores, labels), rel=1e-5)
    sure = 100 * F.one_hot(torch.where(labels == IGNORED, 0, labels), CLASSES).permute(0, 3, 1, 2).float()
    assert region_loss(sure, labels).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("threshold", [0.99, 0.7, 0.05, 1e-9])
def test_hard_examples_are_those_below_the_threshold_or_the_hardest_sixteenth(
    scores: Tensor, labels: Tensor, threshold: float
) -> None:
    each = np.sort(entropies(scores, labels))[::-1]
    hard, least = each[each > -math.log(threshold)], labels.numel() // 16
    expected = hard if len(hard) >= least else each[:least]
    assert hard_example_loss(scores, labels, threshold).item() == pytest.approx(expected.mean(), rel=1e-5)


def test_nothing_labelled_is_no_loss(scores: Tensor, labels: Tensor) -> None:
    nothing = torch.full_like(labels, IGNORED)
    scores.requires_grad_()
    for loss in (
        segmentation_loss(scores, nothing),
        region_loss(scores, nothing),
        hard_example_loss(scores, nothing, 0.7),
    ):
        assert loss.item() == 0
        (gradient,) = torch.autograd.grad(loss, scores)
        assert not gradient.any()


def bilinear(values: Array, size: tuple[int, int], aligned: bool) -> Array:
    """Resize [h, w], with corners aligned or by half-pixel centres, the border repeated."""

    def places(length: int, result: int) -> tuple[npt.NDArray[np.int64], Array]:
        index = np.arange(result)
        position = index * (length - 1) / (result - 1) if aligned else (index + 0.5) * length / result - 0.5
        position = np.clip(position, 0, length - 1)
        low = np.minimum(position.astype(np.int64), length - 2)
        return low, position - low

    (top, down), (left, right) = places(values.shape[0], size[0]), places(values.shape[1], size[1])
    rows = values[top] * (1 - down)[:, None] + values[top + 1] * down[:, None]
    return rows[:, left] * (1 - right) + rows[:, left + 1] * right


@pytest.mark.parametrize(("stride", "size"), [(1, (40, 56)), (2, (40, 56)), (1, (37, 50)), (4, (36, 48))])
def test_scores_of_pixels_are_those_of_the_deployed_model(stride: int, size: tuple[int, int]) -> None:
    """×8 by half-pixel centres, then to the image with corners aligned; ``edge`` has both steps."""
    logits = torch.randn(1, CLASSES, 5, 7, generator=torch.Generator().manual_seed(1))
    found = score_pixels(FAMILY, logits, size, stride)
    rows, columns = size[0] // stride, size[1] // stride
    for index in range(CLASSES):
        enlarged = bilinear(logits[0, index].double().numpy(), (40 // stride, 56 // stride), aligned=False)
        expected = enlarged if enlarged.shape == (rows, columns) else bilinear(enlarged, (rows, columns), aligned=True)
        np.testing.assert_allclose(found[0, index], expected, atol=1e-5)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("stride", "size"), [(1, (40, 56)), (2, (40, 56)), (1, (37, 50))])
def test_scores_of_pixels_are_resized_as_the_family_says(
    stride: int, size: tuple[int, int], align_corners: bool
) -> None:
    """Straight to the image, or to the coarser grid, where nothing is enlarged before."""
    family = replace(FAMILY, upscale=1, align_corners=align_corners)
    logits = torch.randn(1, CLASSES, 5, 7, generator=torch.Generator().manual_seed(1))
    found = score_pixels(family, logits, size, stride)
    for index in range(CLASSES):
        grid = size[0] // stride, size[1] // stride
        expected = bilinear(logits[0, index].double().numpy(), grid, aligned=align_corners)
        np.testing.assert_allclose(found[0, index], expected, atol=1e-5)


def test_stride_of_the_loss_follows_the_family() -> None:
    def chosen(upscale: int, align_corners: bool | None = None, **changes: Any) -> int:
        family = replace(FAMILY, upscale=upscale, align_corners=align_corners)
        return loss_stride_for(family, HrSettings(**changes))

    assert (chosen(8), chosen(4), chosen(1, False)) == (2, 2, 2)
    assert (chosen(1, True), chosen(3), chosen(8, crop=(65, 64))) == (1, 1, 1)
    assert (chosen(8, loss_stride=4), chosen(1, False, loss_stride=8)) == (4, 8)
    with pytest.raises(UsageError, match="loss_stride 2: must divide the 1 by which edge enlarges"):
        chosen(1, True, loss_stride=2)


def test_parts_of_the_loss_and_their_weights() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(2, CLASSES, 4, 6, generator=generator)
    labels = torch.randint(0, CLASSES, (2, 32, 48), generator=generator, dtype=torch.uint8)
    scores = score_pixels(FAMILY, logits, (32, 48))
    whole = segmentation_losses(FAMILY, LossSettings(region=0.5), logits, labels)
    assert list(whole) == ["segmentation", "region"]
    assert whole["segmentation"].item() == pytest.approx(entropies(scores, labels.long()).mean(), rel=1e-5)
    seen = scores[..., ::2, ::2], labels[:, ::2, ::2].long()
    assert whole["region"].item() == pytest.approx(0.5 * regions(*seen), rel=1e-5)
    hard = segmentation_losses(FAMILY, LossSettings(hard_examples=0.3), logits, labels)
    assert list(hard) == ["segmentation"]
    each = entropies(scores, labels.long())
    assert hard["segmentation"].item() == pytest.approx(each[each > -math.log(0.3)].mean(), rel=1e-5)


def test_a_coarser_grid_looks_at_every_pixel_in_turn() -> None:
    logits = torch.zeros(1, CLASSES, 4, 4)
    logits[:, 0] = 5.0
    labels = torch.zeros(1, 32, 32, dtype=torch.uint8)
    labels[:, 1::2, 0::2] = 1  # a quarter of the pixels, one of the four grids
    seen = set()
    for seed in range(24):
        torch.manual_seed(seed)
        parts = segmentation_losses(FAMILY, LossSettings(stride=2), logits, labels)
        seen.add(round(parts["segmentation"].item(), 3))
    right = math.log(1 + 3 * math.exp(-5))
    assert seen == {round(right, 3), round(right + 5, 3)}


def test_auxiliary_maps_have_the_loss_of_the_output() -> None:
    generator = torch.Generator().manual_seed(3)
    maps = tuple(torch.randn(2, CLASSES, *size, generator=generator) for size in ((4, 6), (32, 48)))
    labels = torch.randint(0, CLASSES, (2, 32, 48), generator=generator, dtype=torch.uint8)
    full = [
        torch.from_numpy(np.stack([[bilinear(each, (32, 48), aligned=True) for each in one] for one in scores.numpy()]))
        for scores in maps
    ]
    plain = auxiliary_losses(LossSettings(auxiliary=0.4), maps, labels)
    expected = 0.4 * sum(entropies(scores, labels.long()).mean() for scores in full)
    assert plain["auxiliary"].item() == pytest.approx(expected, rel=1e-5)
    hard = auxiliary_losses(LossSettings(hard_examples=0.2), maps, labels)
    each = [entropies(scores, labels.long()) for scores in full]
    expected = sum(one[one > -math.log(0.2)].mean() for one in each)
    assert hard["auxiliary"].item() == pytest.approx(expected, rel=1e-5)
    assert auxiliary_losses(LossSettings(), (), labels) == {}


def test_classes_anywhere_in_the_image_are_learnt_by_the_class_head() -> None:
    scores = torch.tensor([[2.0, -1.0, 0.5, -3.0], [0.0, 1.0, -2.0, 4.0]])
    labels = torch.full((2, 8, 8), IGNORED, dtype=torch.uint8)
    labels[0, 0, 0], labels[0, 1, 1], labels[1] = 0, 2, 3
    present = np.array([[1, 0, 1, 0], [0, 0, 0, 1]])
    p = 1 / (1 + np.exp(-scores.double().numpy()))
    expected = -(present * np.log(p) + (1 - present) * np.log(1 - p)).mean()
    assert auxiliary_losses(LossSettings(), (scores,), labels)["auxiliary"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["camvid-psp18", "camvid-bise18", "cityscapes-psp18"])
def test_each_published_family_has_its_auxiliary_losses(name: str) -> None:
    family = find_family(name)
    classes = len(family.classes.names)
    torch.manual_seed(0)
    network = family.build_hr()
    with torch.no_grad():
        _, auxiliary = network.training_outputs(torch.rand(1, 3, 64, 64))  # type: ignore[attr-defined]
    labels = torch.randint(0, classes, (1, 64, 64), dtype=torch.uint8)
    loss = auxiliary_losses(LossSettings(), auxiliary, labels)["auxiliary"].item()
    # Heads that know nothing: near log n for each map, log 2 for classes that may be there or not.
    chance = math.log(2) if name == "camvid-psp18" else len(auxiliary) * math.log(classes)
    assert loss == pytest.approx(chance, rel=0.35)
