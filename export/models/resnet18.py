"""ResNet-18 (He et al., CVPR 2016) without its classifier, plain or dilated, under torchvision's names."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

Dilations = tuple[tuple[int, int], tuple[int, int]]
"""Of the two 3×3 convolutions in each of a stage's two blocks."""

PLAIN: Dilations = ((1, 1), (1, 1))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilations: tuple[int, int]) -> None:
        super().__init__()
        first, second = dilations
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=first, dilation=first, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, padding=second, dilation=second, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, h, w] to [N, outputs, h/stride, w/stride]."""
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(self.downsample(x) + residual)


def stage(inputs: int, outputs: int, *, stride: int = 1, dilations: Dilations = PLAIN) -> nn.Sequential:
    """Return one of the four stages: two blocks, the first of which may stride."""
    return nn.Sequential(
        BasicBlock(inputs, outputs, stride, dilations[0]), BasicBlock(outputs, outputs, 1, dilations[1])
    )


class Pyramid(NamedTuple):
    """The outputs of ``layer3`` (256 channels) and ``layer4`` (512 channels)."""

    third: Tensor
    fourth: Tensor


class ResNet18(nn.Module):
    """The trunk, with strides 16 and 32, or dilated with stride 8 at both outputs.

    Dilated as the CamVid PSPNet has it: in the dilated stages the first block is not dilated.
    """

    def __init__(self, *, dilated: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = stage(64, 64)
        self.layer2 = stage(64, 128, stride=2)
        if dilated:
            self.layer3 = stage(128, 256, dilations=((1, 1), (2, 2)))
            self.layer4 = stage(256, 512, dilations=((1, 1), (4, 4)))
        else:
            self.layer3 = stage(128, 256, stride=2)
            self.layer4 = stage(256, 512, stride=2)

    def forward(self, image: Tensor) -> Pyramid:
        """Map [N, 3, H, W] to the last two stages' features."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(image))), 3, stride=2, padding=1)
        third = self.layer3(self.layer2(self.layer1(x)))
        return Pyramid(third, self.layer4(third))
