"""A fusion that needs no training: where LR training starts from, and a first trial without an LR checkpoint."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from arseg_edge.export.families import Family
from arseg_edge.export.models import FusionNetwork, SegmentationNetwork

KEYFRAME_SHARE = 0.9
"""Of the fused feature, at the start: the warped feature is nearer to HR's than the LR feature is."""


@torch.no_grad()
def start_fusion(network: nn.Module) -> None:
    """Take the keyframe's feature as it is, and let attention go by what stands out from its surroundings.

    Scores have no scale factor: from random weights their softmax picks random neighbours, a blur that training
    hardly undoes. A feature less its surroundings is most like itself where it belongs.
    """
    edges, centre = torch.full((3, 3), -1 / 8), torch.zeros(3, 3)
    edges[1, 1], centre[1, 1] = 1, KEYFRAME_SHARE
    fusion = cast(FusionNetwork, network).fuse_attention
    for convolution, weight in (
        (fusion.lr_query_conv, edges),
        (fusion.hr_key_conv, edges),
        (fusion.hr_value_conv, centre),
    ):
        convolution.weight.copy_(weight.expand_as(convolution.weight))
        cast(Tensor, convolution.bias).zero_()
    if hasattr(network, "start_small"):
        cast(Any, network).start_small(1 - KEYFRAME_SHARE)


@torch.no_grad()
def untrained_ar(family: Family, hr: SegmentationNetwork) -> FusionNetwork:
    """Return the family's network for LR frames with HR's weights, and the fusion of ``start_fusion``.

    What an LR network has beyond HR's layers gets the same random weights each time. Features of HR and LR are added
    up in the fusion; the last layer divides by how much that is, unless the LR network starts small by itself.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = family.build_ar()
    module = cast(nn.Module, network)
    layout = module.state_dict()
    weights = cast(nn.Module, hr).state_dict()
    shared = {key: value for key, value in weights.items() if key in layout and layout[key].shape == value.shape}
    module.load_state_dict(shared, strict=False)
    start_fusion(module)
    if not hasattr(module, "start_small"):
        for layer in network.final_conv.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.div_(1 + KEYFRAME_SHARE)
    return network
