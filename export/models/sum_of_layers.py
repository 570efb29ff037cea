"""A last layer that is several convolutions, or that tells two classes by one number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SumOfLayers(nn.Module):
    """Convolutions of equal shape whose outputs are added up, as one over their inputs beside each other.

    The parameters stay those of the layers. ``binary`` is for layers with one output x: the scores are then (0, x), so
    that the second class is where x is above 0.
    """

    def __init__(self, layers: Sequence[nn.Conv2d], *, binary: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.binary = binary
        first = layers[0]
        self.kernel_size, self.stride, self.padding = first.kernel_size, first.stride, first.padding
        self.dilation, self.groups = first.dilation, first.groups
        self.in_channels = sum(layer.in_channels for layer in layers)
        self.out_channels = 2 if binary else first.out_channels

    @property
    def weight(self) -> Tensor:
        """Float32 [n, C, k, k]: the layers' weights beside each other."""
        weight = torch.cat([layer.weight for layer in self._convolutions()], dim=1)
        return torch.cat([torch.zeros_like(weight), weight]) if self.binary else weight

    @property
    def bias(self) -> Tensor | None:
        """Float32 [n]: the sum of the layers' biases."""
        biases = [layer.bias for layer in self._convolutions() if layer.bias is not None]
        if not biases:
            return None
        bias = torch.stack(biases).sum(dim=0)
        return torch.cat([torch.zeros_like(bias), bias]) if self.binary else bias

    def forward(self, feature: Tensor) -> Tensor:
        """Return the scores [N, n, h, w] of a feature [N, C, h, w]."""
        return F.conv2d(feature, self.weight, self.bias, self.stride, self.padding, self.dilation)

    def _convolutions(self) -> list[nn.Conv2d]:
        return [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]
