"""``edge``: a network of the project's own, for devices that have a CPU and no more.

1.13 million parameters (LR 1.16) and 3.8 GMAC at 960×720. Only plain 3×3 and 1×1 convolutions, ReLU, sums, one
global average and bilinear resizing: CPUs run dense convolutions several times closer to their peak than the
depthwise ones of the usual small networks, and each of these operators has a quantised form.

A residual trunk goes down to 1/32, where a global average gives every position the whole image; lateral
1×1 layers bring the result back up over 1/16 to 1/8 (a feature pyramid: Lin et al., CVPR 2017).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arseg_edge.export.models.resizing import resize
from arseg_edge.export.models.resnet18 import BasicBlock

CHANNELS = 64
FINE_CHANNELS = 48
STRIDE = 8


class Edge(nn.Module):
    """The network for ``classes`` classes; its feature has 64 channels at 1/8 (sizes rounded up)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.quarter = nn.Sequential(_block(3, 16, stride=2), _block(16, 24, stride=2), _residual(24, 24))
        self.eighth = nn.Sequential(_residual(24, CHANNELS, stride=2), _residual(CHANNELS, CHANNELS))
        self.sixteenth = nn.Sequential(_residual(CHANNELS, 96, stride=2), _residual(96, 96))
        self.thirty_second = nn.Sequential(_residual(96, 128, stride=2), _residual(128, 128))
        self.context = _block(128, 128, kernel=1)
        self.from_eighth = _lateral(CHANNELS)
        self.from_sixteenth = _lateral(96)
        self.from_thirty_second = _lateral(128)
        self.merge_sixteenth = _block(CHANNELS, CHANNELS)
        self.merge_eighth = _block(CHANNELS, CHANNELS)
        self.final_conv = nn.Conv2d(CHANNELS, classes, 1)

    def feature(self, image: Tensor) -> Tensor:
        """Return [N, 64, H/8, W/8] for a normalised image [N, 3, H, W]."""
        return self._from_quarter(self.quarter(image))

    def _from_quarter(self, quarter: Tensor) -> Tensor:
        eighth: Tensor = self.eighth(quarter)
        sixteenth: Tensor = self.sixteenth(eighth)
        deepest: Tensor = self.thirty_second(sixteenth)
        deepest = deepest + self.context(F.adaptive_avg_pool2d(deepest, 1))
        merged = resize(self.from_thirty_second(deepest), _size(sixteenth)) + self.from_sixteenth(sixteenth)
        merged = self.merge_sixteenth(F.relu(merged))
        merged = resize(merged, _size(eighth)) + self.from_eighth(eighth)
        feature: Tensor = self.merge_eighth(F.relu(merged))
        return feature


class EdgeLr(Edge):
    """The same network for LR frames, with one step more back up: its feature is at 1/4 of the LR image.

    At half the resolution that is the grid of the keyframe's feature, so nothing is to be enlarged where the two are
    summed. What is added may be below 0, or nothing that the keyframe shows in a wrong place could be taken away.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.to_fine = _lateral(CHANNELS, FINE_CHANNELS)
        self.fine_lateral = _lateral(24, FINE_CHANNELS)
        self.merge_fine = _block(FINE_CHANNELS, FINE_CHANNELS)
        self.refine = _lateral(FINE_CHANNELS, CHANNELS)

    def feature(self, image: Tensor) -> Tensor:
        """Return [N, 64, H/4, W/4] for a normalised image [N, 3, H, W]."""
        quarter: Tensor = self.quarter(image)
        coarse = self._from_quarter(quarter)
        fine = F.relu(resize(self.to_fine(coarse), _size(quarter)) + self.fine_lateral(quarter))
        feature: Tensor = resize(coarse, _size(quarter)) + self.refine(self.merge_fine(fine))
        return feature

    @torch.no_grad()
    def start_small(self, factor: float) -> None:
        """Make the feature ``factor`` (above 0) times that of ``Edge``: where LR training starts from HR's weights."""
        for layer, gain in ((self.merge_eighth, factor), (self.refine, 0.0)):
            normalisation = layer[1]
            assert isinstance(normalisation, nn.BatchNorm2d)
            normalisation.weight.mul_(gain)
            normalisation.bias.mul_(gain)


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]


def _block(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _lateral(inputs: int, outputs: int = CHANNELS) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


def _residual(inputs: int, outputs: int, stride: int = 1) -> BasicBlock:
    return BasicBlock(inputs, outputs, stride, (1, 1))
