"""Training of the LR network and CReFF from an HR teacher: feature similarity training.

Hu et al., CVPR 2023, section 3.4: the HR network is frozen, its last layer is copied and frozen too. The loss
is that of segmentation plus the mean squared error to the HR feature of the same frame; in the first epochs
it looks at the LR feature alone, afterwards at the fused one.

Frames of videos have no labels. In their place are the probabilities that HR gives the same frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arseg_edge.datasets import IGNORED
from arseg_edge.export.families import Family
from arseg_edge.export.models import FusionNetwork, SegmentationNetwork
from arseg_edge.export.models.resizing import resize
from arseg_edge.export.operators.motion_warp import motion_warp
from arseg_edge.export.untrained import start_fusion
from arseg_edge.lr_size import lr_size
from arseg_edge.training.batches import Batch
from arseg_edge.training.cache import PairCache
from arseg_edge.training.loop import Precision, autocast
from arseg_edge.training.losses import (
    LossSettings,
    auxiliary_losses,
    score_pixels,
    segmentation_losses,
    soft_label_losses,
)
from arseg_edge.training.networks import head, normalise, training_outputs
from arseg_edge.training.pairs import Pair
from arseg_edge.training.state import Measure
from arseg_edge.training.validate import agreement_of, as_batch, miou_of

FusionKind = Literal["attention", "sum"]


@dataclass(frozen=True)
class FusionSettings:
    """How LR frames take from the keyframe; all but the defaults are for ablation."""

    scale: float = 0.5
    """Of the LR image to the frame."""
    from_epoch: int = 0
    """Before it the LR network is trained without fusion."""
    similarity: float = 1.0
    """The weight of the mean squared error to the HR feature."""
    kind: FusionKind = "attention"
    """``sum`` adds the warped keyframe feature without attention."""
    motion: bool = True
    """False takes every displacement as zero."""


@dataclass(frozen=True)
class LrTask:
    """Segment a frame from its LR image and its keyframe's feature."""

    family: Family
    network: nn.Module
    """With its ``fuse_attention``, and the teacher's last layer, frozen."""
    teacher: nn.Module
    """The HR network, frozen."""
    loss: LossSettings
    fusion: FusionSettings
    held: PairCache | tuple[PairCache, ...]
    """The pairs that validation looks at: those of a data set with labels, or of videos without."""
    device: torch.device
    precision: Precision = "float32"
    soft_labels: float = 0.0
    """The weight of the loss that takes the place of labels on frames without; 0 where all frames have some."""

    @property
    def measure(self) -> Measure:
        """Agreement with HR where there are no labels to judge by."""
        return "agreement" if isinstance(self.held, tuple) else "miou"

    def losses(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Return segmentation loss, that of soft labels, similarity loss, and that of the family's auxiliary heads."""
        assert batch.keyframe is not None
        assert batch.motion is not None
        image, keyframe = normalise(self.family, batch.image), normalise(self.family, batch.keyframe)
        fused_now = epoch >= self.fusion.from_epoch
        with autocast(self.device, self.precision):
            with torch.no_grad():
                teacher = cast(SegmentationNetwork, self.teacher)
                target = teacher.feature(image).float()
                keyframe_feature = teacher.feature(keyframe).float() if fused_now else None
            lr_feature, auxiliary = training_outputs(self.network, self._small(image))
        feature = (
            resize(lr_feature.float(), (target.shape[2], target.shape[3]))
            if keyframe_feature is None
            else fuse(self.network, lr_feature.float(), keyframe_feature, batch.motion.float(), self.fusion)
        )
        logits, labels = head(self.network)(feature), batch.labels
        missing = (labels == IGNORED).flatten(1).all(1) if self.soft_labels else None
        if missing is None or not bool(missing.any()):
            parts = segmentation_losses(self.family, self.loss, logits, labels)
        else:
            with torch.no_grad():
                said = head(self.teacher)(target[missing])
                if auxiliary:
                    labels = self._completed(labels, missing, said)
            parts = self._partly_labelled(logits, batch.labels, missing, said)
        parts |= auxiliary_losses(self.loss, auxiliary, labels)
        if self.fusion.similarity:
            parts["similarity"] = self.fusion.similarity * F.mse_loss(feature, target)
        return parts

    def _partly_labelled(self, logits: Tensor, labels: Tensor, missing: Tensor, said: Tensor) -> dict[str, Tensor]:
        """Return the losses of frames with labels and of those without (``missing``), each by its share of the batch.

        ``said`` [M, n, h, w] is what HR says of the frames without.
        """
        share = float(missing.float().mean())
        size = labels.shape[1], labels.shape[2]
        parts: dict[str, Tensor] = {}
        if share < 1:
            known = segmentation_losses(self.family, self.loss, logits[~missing], labels[~missing])
            parts |= {name: (1 - share) * value for name, value in known.items()}
        soft = soft_label_losses(self.family, self.loss, logits[missing], said, size)
        return parts | {name: self.soft_labels * share * value for name, value in soft.items()}

    def _completed(self, labels: Tensor, missing: Tensor, said: Tensor) -> Tensor:
        """Return labels in which what HR says stands where a frame has none, for heads that take no probabilities."""
        completed = labels.clone()
        scores = score_pixels(self.family, said, (labels.shape[1], labels.shape[2]))
        completed[missing] = scores.argmax(1).to(labels.dtype)
        return completed

    def validate(self, network: nn.Module, epoch: int) -> float | None:
        """Return the mIoU of the labelled frames of the pairs, or agreement with HR; None before there is fusion."""
        if epoch < self.fusion.from_epoch:
            return None

        def logits(pair: Pair) -> Tensor:
            image, keyframe, motion = as_batch(pair, self.device)
            with autocast(self.device, self.precision):
                keyframe_feature = cast(SegmentationNetwork, self.teacher).feature(normalise(self.family, keyframe))
                lr_feature = cast(SegmentationNetwork, network).feature(self._small(normalise(self.family, image)))
            fused = fuse(network, lr_feature.float(), keyframe_feature.float(), motion, self.fusion)
            scores: Tensor = head(network)(fused)
            return scores

        def hr(pair: Pair) -> Tensor:
            image, _, _ = as_batch(pair, self.device)
            with autocast(self.device, self.precision):
                feature = cast(SegmentationNetwork, self.teacher).feature(normalise(self.family, image))
            scores: Tensor = head(self.teacher)(feature.float())
            return scores

        if isinstance(self.held, tuple):
            return agreement_of(self.family, self.held, logits, hr)
        return miou_of(self.family, self.held, logits)

    def _small(self, image: Tensor) -> Tensor:
        return resize(image, lr_size(image.shape[2], image.shape[3], self.fusion.scale))


def fuse(
    network: nn.Module, lr_feature: Tensor, keyframe_feature: Tensor, motion: Tensor, settings: FusionSettings
) -> Tensor:
    """Return the fused feature [N, C, h, w], as ``settings`` say; ``motion`` [N, H, W, 2] in pixels."""
    displacement = motion if settings.motion else torch.zeros_like(motion)
    fusion = cast(FusionNetwork, network).fuse_attention
    if settings.kind == "attention":
        fused: Tensor = fusion(lr_feature, keyframe_feature, displacement).fused
        return fused
    warped = motion_warp(keyframe_feature, displacement, sampling=fusion.sampling)
    return resize(lr_feature, (warped.shape[2], warped.shape[3])) + warped


def make_student(family: Family, teacher: nn.Module, from_teacher: bool = True, fused: bool = True) -> nn.Module:
    """Return an LR network with CReFF, its last layer the teacher's and frozen.

    ``from_teacher`` starts from the teacher's weights where the layouts agree, LR frames showing the same things.
    Where there is fusion from the first step on (``fused``), it then starts from a fusion that takes most from the
    keyframe.
    """
    student = cast(nn.Module, family.build_ar())
    if from_teacher:
        student.load_state_dict(teacher.state_dict(), strict=False)
        if fused:
            start_fusion(student)
    head(student).load_state_dict(head(teacher).state_dict())
    head(student).requires_grad_(False)
    return student
