"""Checkpoints, evaluated as a bundle of them would be: the same two networks, run by PyTorch."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from arseg_edge.errors import SequenceError
from arseg_edge.evaluation.predictor import Frame, Labels, Motion
from arseg_edge.export.checkpoint import CheckpointSource, family_of, load_ar, load_hr, read_checkpoint
from arseg_edge.export.families import Family
from arseg_edge.export.graphs import KeyframeGraph, NonkeyframeGraph
from arseg_edge.export.models import FusionNetwork
from arseg_edge.export.models.resizing import Size
from arseg_edge.export.operators.normalize_image import normalize_image
from arseg_edge.export.operators.segmentation_labels import segmentation_labels
from arseg_edge.lr_size import lr_size
from arseg_edge.operators import Chaining
from arseg_edge.runtime.motion.agreement import fitting
from arseg_edge.runtime.schedule.keyframes import INTERVAL
from arseg_edge.runtime.source.resizing import resized_picture


class CheckpointPredictor:
    """An HR and an LR + CReFF checkpoint of one family."""

    def __init__(
        self,
        family: str | Family | None,
        hr: CheckpointSource,
        lr: CheckpointSource,
        scale: float = 0.5,
        *,
        interval: int = INTERVAL,
        size: Size | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        """Load both; ``family`` None recognises it, and ``hr`` and ``lr`` are files or state dicts.

        The networks see frames at ``size`` (height, width), None for the frames' own; labels have the frames' size.

        Raises:
            CheckpointError: weights that cannot be read, or do not fit the family.
            UsageError: no such family.
        """
        hr_checkpoint, lr_checkpoint = read_checkpoint(hr, "hr"), read_checkpoint(lr, "lr")
        found = family_of(family, hr_checkpoint, lr_checkpoint)
        self._keyframe = KeyframeGraph(load_hr(found, hr_checkpoint)).to(device)
        self._nonkeyframe = NonkeyframeGraph(found, load_ar(found, lr_checkpoint)).to(device)
        self._family, self._device, self._size = found, device, size
        self._feature: Tensor | None = None
        self.name = f"{hr_checkpoint.name} and {lr_checkpoint.name}"
        self.classes = found.classes
        self.interval = interval
        self.scale = scale
        self.chaining: Chaining = found.chaining
        self.gives_lr = True

    def keyframe(self, rgb: Frame) -> Labels:
        """Return HR's labels, and keep the feature for ``ar``."""
        labels, self._feature = self._hr(rgb)
        return labels

    def hr(self, rgb: Frame) -> Labels:
        """Return HR's labels; the kept feature stays as it is."""
        return self._hr(rgb)[0]

    @torch.inference_mode()
    def ar(self, rgb: Frame, motion: Motion) -> Labels:
        """Return the labels of LR and CReFF with the kept feature; ``motion`` leads to that keyframe."""
        if self._feature is None:
            raise SequenceError("motion before any keyframe: call keyframe(rgb) first")
        moved = self._batch(fitting(motion, self._seen(rgb), self._family.sampling))
        logits, _ = self._nonkeyframe(self._small(rgb), self._feature, moved)
        return self._labels(logits, rgb)

    @torch.inference_mode()
    def lr(self, rgb: Frame) -> Labels:
        """Return the labels of the LR network alone: its feature, the last layer, no fusion."""
        network = cast(FusionNetwork, self._nonkeyframe.network)
        return self._labels(network.final_conv(network.feature(self._small(rgb))), rgb)

    @torch.inference_mode()
    def _hr(self, rgb: Frame) -> tuple[Labels, Tensor]:
        feature, logits = self._keyframe(self._image(rgb, self._seen(rgb)))
        return self._labels(logits, rgb), feature

    def _small(self, rgb: Frame) -> Tensor:
        return self._image(rgb, lr_size(*self._seen(rgb), self.scale))

    def _seen(self, rgb: Frame) -> Size:
        """Return the size of a frame for the networks."""
        return self._size or (rgb.shape[0], rgb.shape[1])

    def _image(self, rgb: Frame, size: Size) -> Tensor:
        seen = resized_picture(rgb, self._seen(rgb))
        return normalize_image(self._batch(seen), size, mean=self._family.mean, std=self._family.std)

    def _labels(self, logits: Tensor, rgb: Frame) -> Labels:
        labels = segmentation_labels(logits, (rgb.shape[0], rgb.shape[1]), **self._family.label_rule)
        return np.asarray(labels[0].cpu().numpy(), np.uint8)

    def _batch(self, array: Frame | Motion) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))[None].to(self._device)
