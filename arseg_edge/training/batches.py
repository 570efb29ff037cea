"""Batches of augmented pairs: which ones a step sees follows from the seed and the step's number alone.

So a run that was killed goes on with exactly the batches that it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from arseg_edge.training.augment import Augmentation, augment, augment_frame
from arseg_edge.training.cache import PairCache
from arseg_edge.training.pairs import LabelledFrame

_AHEAD = 3


class Batch(NamedTuple):
    """N augmented frames, with or without their keyframes."""

    image: Tensor
    """uint8 [N, H, W, 3] RGB."""
    labels: Tensor
    """uint8 [N, H, W], the class or ``IGNORED``."""
    keyframe: Tensor | None
    """uint8 [N, H, W, 3] RGB."""
    motion: Tensor | None
    """float16 [N, H, W, 2], pixels, from the frame to the keyframe."""

    def to(self, device: torch.device) -> Batch:
        """Return it on a device."""
        image, labels = (each.to(device, non_blocking=True) for each in (self.image, self.labels))
        keyframe, motion = (
            None if each is None else each.to(device, non_blocking=True) for each in (self.keyframe, self.motion)
        )
        return Batch(image, labels, keyframe, motion)


@dataclass(frozen=True)
class Mixture:
    """Data sets, and how often each is drawn from."""

    caches: Sequence[PairCache]
    weights: Sequence[float]
    """In proportion to which a pair comes from each of them."""
    keyframes: bool = True
    """Whether batches hold keyframes and motion; HR training has no use for them."""

    def __len__(self) -> int:
        """Labelled frames in all."""
        return sum(len(cache) for cache in self.caches)

    def batch(self, step: int, size: int, augmentation: Augmentation, seed: int) -> Batch:
        """Return the batch of one step."""
        rng = np.random.default_rng((seed, step))
        weights = np.asarray(self.weights, float)
        drawn: list[LabelledFrame] = []
        for which in rng.choice(len(self.caches), size, p=weights / weights.sum()):
            cache = self.caches[which]
            item, variant = int(rng.integers(len(cache))), int(rng.integers(cache.variants))
            if self.keyframes:
                drawn.append(augment(cache.read(item, variant), augmentation, rng))
            else:
                drawn.append(augment_frame(cache.read_frame(item, variant), augmentation, rng))

        def stacked(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(each, name) for each in drawn]))

        if self.keyframes:
            return Batch(stacked("image"), stacked("labels"), stacked("keyframe"), stacked("motion"))
        return Batch(stacked("image"), stacked("labels"), None, None)


def batches(
    mixture: Mixture, first: int, last: int, size: int, augmentation: Augmentation, seed: int
) -> Iterator[tuple[int, Batch]]:
    """Yield the batches of steps ``first`` to ``last`` − 1, made ahead by a thread."""
    with ThreadPoolExecutor(1) as pool:
        waiting: list[Future[Batch]] = []
        try:
            for step in range(first, last):
                for ahead in range(step + len(waiting), min(step + _AHEAD, last)):
                    waiting.append(pool.submit(mixture.batch, ahead, size, augmentation, seed))
                yield step, waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()
