"""Running a family's networks in training."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from arseg_edge.export.families import Family
from arseg_edge.export.models import Head, SegmentationNetwork, TrainableNetwork, TrainingOutputs


def normalise(family: Family, image: Tensor) -> Tensor:
    """Return float32 [N, 3, H, W] for uint8 [N, H, W, 3] RGB, as the exported graphs do."""
    mean, std = (torch.tensor(each, device=image.device) for each in (family.mean, family.std))
    scaled = (image.float() / 255 - mean) / std
    # A permuted view is in "channels last", the layout that convolutions of reduced precision want.
    return scaled.permute(0, 3, 1, 2)


def training_outputs(network: nn.Module, image: Tensor) -> TrainingOutputs:
    """Return the feature and what auxiliary heads the network has, if any."""
    if hasattr(network, "training_outputs"):
        return cast(TrainableNetwork, network).training_outputs(image)
    return TrainingOutputs(cast(SegmentationNetwork, network).feature(image), ())


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, in place, in the layout that convolutions of reduced precision want."""
    # The stubs know no memory format.
    return cast(nn.Module, cast(Any, network).to(device, memory_format=torch.channels_last))


def head(network: nn.Module) -> Head:
    """Return the network's last layer."""
    return cast(SegmentationNetwork, network).final_conv
