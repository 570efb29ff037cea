"""Scores on pairs that training does not see: mean IoU with labels, or agreement with HR."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from arseg_edge.evaluation.confusion import confusion_matrix, mean_iou
from arseg_edge.export.families import Family
from arseg_edge.training.cache import PairCache
from arseg_edge.training.losses import score_pixels
from arseg_edge.training.pairs import Pair


@torch.no_grad()
def miou_of(family: Family, cache: PairCache, logits: Callable[[Pair], Tensor]) -> float:
    """Return the mIoU, 0 to 100, over all pairs of ``cache``, of which ``logits`` makes float32 [1, n, h, w]."""
    classes = len(family.classes.names)
    confusion = np.zeros((classes, classes), np.int64)
    for item in range(len(cache)):
        for variant in range(cache.variants):
            pair = cache.read(item, variant)
            height, width = pair.labels.shape
            scores = score_pixels(family, logits(pair), (height, width))
            labels = scores.argmax(1)[0].to(torch.uint8).cpu().numpy()
            confusion += confusion_matrix(pair.labels, labels, classes)
    return 100 * float(mean_iou(confusion))


@torch.no_grad()
def agreement_of(
    family: Family, caches: Sequence[PairCache], logits: Callable[[Pair], Tensor], hr: Callable[[Pair], Tensor]
) -> float:
    """Return the share of pixels, 0 to 100, whose label is that of HR, over all pairs; both make [1, n, h, w]."""
    alike = pixels = 0
    for cache in caches:
        for item in range(len(cache)):
            for variant in range(cache.variants):
                pair = cache.read(item, variant)
                height, width = pair.labels.shape
                ours, theirs = (score_pixels(family, make(pair), (height, width)).argmax(1) for make in (logits, hr))
                alike += int((ours == theirs).sum())
                pixels += ours.numel()
    return 100 * alike / pixels


def as_batch(pair: Pair, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return image and keyframe, uint8 [1, H, W, 3], and motion, float32 [1, H, W, 2], on a device."""
    image, keyframe = (torch.from_numpy(each)[None].to(device) for each in (pair.image, pair.keyframe))
    return image, keyframe, torch.from_numpy(pair.motion.astype(np.float32))[None].to(device)
