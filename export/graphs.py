"""The two networks of a bundle as PyTorch modules, from the normalised image to the logits.

What lies around them, bytes in and labels out, is put to the exported graph by ``graph_ends.py``.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from arseg_edge.export.families import Family
from arseg_edge.export.models import FusionNetwork, Head, SegmentationNetwork
from arseg_edge.export.operators.creff import creff


class KeyframeGraph(nn.Module):
    """``image`` float32 [1, 3, H, W] → ``feature`` [1, C, h, w], ``logits`` [1, n, h, w]."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = cast(nn.Module, network)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the feature, and the logits of the last layer."""
        network = cast(SegmentationNetwork, self.network)
        feature = network.feature(image)
        return feature, network.final_conv(feature)


class NonkeyframeGraph(nn.Module):
    """``image`` of the LR size, ``keyframe_feature``, ``motion`` [1, a, b, 2] → ``logits``, ``lr_feature``."""

    def __init__(self, family: Family, network: FusionNetwork) -> None:
        super().__init__()
        self.family = family
        self.network = cast(nn.Module, network)

    def forward(self, image: Tensor, keyframe_feature: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits [1, n, h, w] at the keyframe feature's size, and the LR feature."""
        network = cast(FusionNetwork, self.network)
        lr_feature = network.feature(image)
        head = network.final_conv
        pointwise = head.kernel_size == (1, 1)
        fused = creff(
            lr_feature,
            keyframe_feature,
            motion,
            network.fuse_attention.operator_weights,
            _pointwise_layer(head) if pointwise else _identity_layer(lr_feature),
            sampling=self.family.sampling,
            kernel_size=self.family.kernel_size,
        )
        return fused if pointwise else head(fused), lr_feature


def _pointwise_layer(head: Head) -> tuple[Tensor, Tensor]:
    return head.weight, head.weight.new_zeros(head.out_channels) if head.bias is None else head.bias


def _identity_layer(feature: Tensor) -> tuple[Tensor, Tensor]:
    """Return a 1×1 layer that leaves the fused feature as it is, for a larger last layer to follow."""
    channels = feature.shape[1]
    return torch.eye(channels)[:, :, None, None], torch.zeros(channels)
