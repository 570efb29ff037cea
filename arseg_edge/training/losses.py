"""What is minimised."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from arseg_edge.datasets import IGNORED
from arseg_edge.export.families import Family
from arseg_edge.export.models.resizing import enlarge, resize


def score_pixels(family: Family, logits: Tensor, size: tuple[int, int], stride: int = 1) -> Tensor:
    """Enlarge logits [N, n, h, w] as the deployed model does, to every ``stride``-th pixel of ``size`` (H, W).

    ``stride`` must divide the family's ``enlargement``: a coarser grid costs its square less, and logits that come
    from 1/8 hold no more.
    """
    rule, grid = family.label_rule, (size[0] // stride, size[1] // stride)
    enlarged = enlarge(logits.float(), max(1, rule["upscale"] // stride))
    if enlarged.shape[2:] == grid:
        return enlarged
    return F.interpolate(enlarged, size=grid, mode="bilinear", align_corners=rule["align_corners"])


def segmentation_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of scores [N, n, H, W] against labels int64 [N, H, W]; 0 where nothing is labelled."""
    if not bool((labels != IGNORED).any()):
        return scores.sum() * 0
    return F.cross_entropy(scores, labels, ignore_index=IGNORED)


def region_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """One minus the mean over classes of a smooth IoU, over the batch as a whole.

    The soft Jaccard index (Rahman and Wang, ISVC 2016): with probabilities p and truth t, per class,
    sum(p·t) / sum(p + t − p·t). It counts a class of few pixels as much as one of many, as mIoU does.
    Classes that the batch does not hold are left out.
    """
    labelled = (labels != IGNORED).unsqueeze(1)
    probabilities = torch.softmax(scores, 1) * labelled
    truth = torch.zeros_like(probabilities).scatter_(1, torch.where(labels == IGNORED, 0, labels).unsqueeze(1), 1.0)
    truth = truth * labelled
    both = (probabilities * truth).sum((0, 2, 3))
    either = (probabilities + truth).sum((0, 2, 3)) - both
    present = truth.sum((0, 2, 3)) > 0
    if not bool(present.any()):
        return scores.sum() * 0
    return 1 - (both[present] / either[present]).mean()


def hard_example_loss(scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Cross entropy over the pixels whose true class has a probability below ``threshold``.

    Online hard example mining as BiSeNet is trained (Yu et al., ECCV 2018): where fewer than a sixteenth of
    the pixels are that hard, the hardest sixteenth.
    """
    each = F.cross_entropy(scores, labels, ignore_index=IGNORED, reduction="none").flatten()
    hard = each[each > -math.log(threshold)]
    least = each.numel() // 16
    return (hard if hard.numel() >= least else each.topk(least).values).mean()


def soft_label_loss(scores: Tensor, teacher: Tensor) -> Tensor:
    """Cross entropy of scores [N, n, H, W] against the probabilities that ``teacher`` has, less its entropy.

    That is the Kullback-Leibler divergence, mean over the pixels (Hinton et al., Distilling the knowledge in a neural
    network, 2015, at temperature 1): 0 where both say the same.
    """
    divergence = F.kl_div(scores.log_softmax(1), teacher.log_softmax(1), reduction="none", log_target=True)
    return divergence.sum(1).mean()


@dataclass(frozen=True)
class LossSettings:
    """Which losses, and how much each counts."""

    stride: int = 1
    """The loss looks at every so many-th pixel in each direction; divides the family's ``enlargement``."""
    hard_examples: float | None = None
    """The threshold of ``hard_example_loss``, which then takes the place of the cross entropy."""
    region: float = 0.0
    """The weight of ``region_loss``."""
    auxiliary: float = 1.0
    """The weight of the loss of each auxiliary head, where the family has them."""


def segmentation_losses(family: Family, settings: LossSettings, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the loss of the logits [N, n, h, w] before any enlarging, labels uint8 [N, H, W], in its parts."""
    # Which of the pixels of a coarser grid are looked at changes, so that no corner is preferred.
    row, column = (int(each) for each in torch.randint(settings.stride, (2,)))
    seen = labels[:, row :: settings.stride, column :: settings.stride].long()
    scores = score_pixels(family, logits, (labels.shape[1], labels.shape[2]), settings.stride)
    parts = {"segmentation": _pixel_loss(settings, scores, seen)}
    if settings.region:
        # Regions are sums over many pixels: every fourth one gives them well enough.
        parts["region"] = settings.region * region_loss(scores[..., ::2, ::2], seen[:, ::2, ::2])
    return parts


def soft_label_losses(
    family: Family, settings: LossSettings, logits: Tensor, teacher: Tensor, size: tuple[int, int]
) -> dict[str, Tensor]:
    """Return the loss of logits [N, n, h, w] before any enlarging to ``size``, against the teacher's of that shape."""
    scores, target = (score_pixels(family, each, size, settings.stride) for each in (logits, teacher))
    return {"soft labels": soft_label_loss(scores, target)}


def auxiliary_losses(settings: LossSettings, auxiliary: tuple[Tensor, ...], labels: Tensor) -> dict[str, Tensor]:
    """Return the loss of the heads that only training has (``TrainingOutputs``), summed up."""
    if not auxiliary:
        return {}
    total = torch.stack([_auxiliary_loss(settings, scores.float(), labels) for scores in auxiliary]).sum()
    return {"auxiliary": settings.auxiliary * total}


def _auxiliary_loss(settings: LossSettings, scores: Tensor, labels: Tensor) -> Tensor:
    if scores.ndim == 2:
        classes = torch.arange(scores.shape[1], device=labels.device)
        present = torch.stack([torch.isin(classes, each) for each in labels.to(classes.dtype)])
        return F.binary_cross_entropy_with_logits(scores, present.to(scores.dtype))
    return _pixel_loss(settings, resize(scores, (labels.shape[1], labels.shape[2])), labels.long())


def _pixel_loss(settings: LossSettings, scores: Tensor, labels: Tensor) -> Tensor:
    if settings.hard_examples is not None:
        return hard_example_loss(scores, labels, settings.hard_examples)
    return segmentation_loss(scores, labels)
