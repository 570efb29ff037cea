"""Training of the HR network: segmentation alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from arseg_edge.export.families import Family
from arseg_edge.training.batches import Batch
from arseg_edge.training.cache import PairCache
from arseg_edge.training.loop import Precision, autocast
from arseg_edge.training.losses import LossSettings, auxiliary_losses, segmentation_losses
from arseg_edge.training.networks import head, normalise, training_outputs
from arseg_edge.training.pairs import Pair
from arseg_edge.training.state import Measure
from arseg_edge.training.validate import as_batch, miou_of


@dataclass(frozen=True)
class HrTask:
    """Segment each frame by itself."""

    family: Family
    network: nn.Module
    loss: LossSettings
    held: PairCache
    """The pairs that validation looks at."""
    device: torch.device
    precision: Precision = "float32"
    measure: ClassVar[Measure] = "miou"

    def losses(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Return the segmentation loss, and that of the family's auxiliary heads."""
        with autocast(self.device, self.precision):
            feature, auxiliary = training_outputs(self.network, normalise(self.family, batch.image))
            logits = head(self.network)(feature)
        return segmentation_losses(self.family, self.loss, logits, batch.labels) | auxiliary_losses(
            self.loss, auxiliary, batch.labels
        )

    def validate(self, network: nn.Module, epoch: int) -> float:
        """Return the mIoU of the labelled frames of the pairs."""

        def logits(pair: Pair) -> Tensor:
            image, _, _ = as_batch(pair, self.device)
            with autocast(self.device, self.precision):
                scores: Tensor = head(network)(training_outputs(network, normalise(self.family, image)).feature)
            return scores

        return miou_of(self.family, self.held, logits)
