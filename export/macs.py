"""Multiply-accumulates of the branches, counted on tensors without data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from arseg_edge.export.families import Family
from arseg_edge.export.models import SegmentationNetwork
from arseg_edge.export.models.protocol import feature_of
from arseg_edge.export.models.resizing import Size
from arseg_edge.lr_size import lr_size
from arseg_edge.manifest import Macs


def count_macs(family: Family, size: Size, scales: Sequence[float]) -> Macs:
    """Count convolutions, matrix products and the attention; resizing, warping and pointwise work is left out.

    HR counts with its last layer, the LR branches up to their feature, CReFF with the last layer.
    """
    with torch.device("meta"):
        hr, ar = family.build_hr(), family.build_ar()
        feature, head = _count(hr, size)
        c, h, w = feature.shape[1:]
        lr = {f"{scale:g}": _count(ar, lr_size(*size, scale))[1][0] for scale in scales}
    # Three depthwise 3×3 convolutions, dot products and weighted sum over k×k, the operator's own last layer where the
    # network's is no 1×1 (``graphs.py``); and the network's.
    per_pixel = 3 * 9 * c + 2 * family.kernel_size**2 * c + (c * c if ar.final_conv.kernel_size != (1, 1) else 0)
    return Macs(size=size, hr=sum(head), lr=lr, creff=per_pixel * h * w + head[1])


def _count(network: SegmentationNetwork, size: Size) -> tuple[torch.Tensor, tuple[int, int]]:
    """Return the feature, and the multiply-accumulates up to it and of the last layer."""
    counts = []
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            feature = feature_of(network, torch.zeros(1, 3, *size))
        counts.append(counter.get_total_flops() // 2)
        with FlopCounterMode(display=False) as counter:
            network.final_conv(feature)
        counts.append(counter.get_total_flops() // 2)
    return feature, (counts[0], counts[1])
