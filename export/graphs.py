"""The two graphs of a bundle as PyTorch modules: bytes in, labels out, everything between inside."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from arseg_edge.export.families import Family
from arseg_edge.export.models import FusionNetwork, SegmentationNetwork
from arseg_edge.export.models.resizing import Size, lr_size, lr_size_tensor
from arseg_edge.export.operators import creff, normalize_image, segmentation_labels


class KeyframeGraph(nn.Module):
    """``frame`` uint8 [1, H, W, 3] → ``labels`` uint8 [1, H, W], ``feature`` [1, C, h, w]; inner: ``logits``."""

    outputs = ("labels", "feature")
    inner = ("logits",)

    def __init__(self, family: Family, network: SegmentationNetwork) -> None:
        super().__init__()
        self.family = family
        self.network = cast(nn.Module, network)

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return labels, feature and the logits [1, n, h, w] of the last layer."""
        network = cast(SegmentationNetwork, self.network)
        size, size_tensor = _size(frame)
        image = normalize_image(frame, size, size_tensor, mean=self.family.mean, std=self.family.std)
        feature = network.feature(image)
        logits: Tensor = network.final_conv(feature)
        labels = segmentation_labels(logits, size, size_tensor, **self.family.label_rule)
        return labels, feature, logits


class NonkeyframeGraph(nn.Module):
    """``frame``, ``keyframe_feature``, ``motion`` [1, H, W, 2] → ``labels``; inner: ``lr_feature``, ``logits``.

    The motion says what H and W are. The frame may have that size, or already the LR branch's: then it is
    taken as it is, and whoever decodes can convert straight to the smaller picture.
    """

    outputs = ("labels",)
    inner = ("lr_feature", "logits")

    def __init__(self, family: Family, network: FusionNetwork, scale: float) -> None:
        super().__init__()
        self.family = family
        self.network = cast(nn.Module, network)
        self.scale = scale

    def forward(self, frame: Tensor, keyframe_feature: Tensor, motion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return labels, the LR feature and the logits [1, n, h, w] at the keyframe feature's size."""
        network = cast(FusionNetwork, self.network)
        size, size_tensor = _size(motion)
        image = normalize_image(
            frame,
            lr_size(*size, self.scale),
            lr_size_tensor(size_tensor, self.scale),
            mean=self.family.mean,
            std=self.family.std,
        )
        lr_feature = network.feature(image)
        head = network.final_conv
        logits = creff(
            lr_feature,
            keyframe_feature,
            motion,
            network.fuse_attention.operator_weights,
            (head.weight, head.weight.new_zeros(head.out_channels) if head.bias is None else head.bias),
            sampling=self.family.sampling,
            kernel_size=self.family.kernel_size,
        )
        labels = segmentation_labels(logits, size, size_tensor, **self.family.label_rule)
        return labels, lr_feature, logits


def _size(map_: Tensor) -> tuple[Size, Tensor]:
    """Return H and W of [1, H, W, …], symbols while a model is exported for any size, and as int64 [2]."""
    size = map_.shape[1], map_.shape[2]
    if torch.compiler.is_exporting():
        return size, torch.onnx.ops.symbolic("Shape", (map_,), {"start": 1, "end": 3}, dtype=torch.int64, shape=(2,))
    return size, torch.tensor(size)
