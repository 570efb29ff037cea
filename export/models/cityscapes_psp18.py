"""``cityscapes-psp18``: PSPNet (Zhao et al., CVPR 2017) on a dilated ResNet-18, its feature at 1/8."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arseg_edge.export.models.pooling import AdaptiveAveragePool
from arseg_edge.export.models.protocol import TrainingOutputs
from arseg_edge.export.models.resizing import resize
from arseg_edge.export.models.resnet18 import stage

CHANNELS = 512


class PyramidPooling(nn.Module):
    """Averages over 1, 4, 9 and 36 parts of the image, 128 channels each, behind the feature itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = nn.ModuleList(
            nn.Sequential(
                AdaptiveAveragePool(bins),
                nn.Conv2d(channels, channels // 4, 1, bias=False),
                nn.BatchNorm2d(channels // 4),
                nn.ReLU(),
            )
            for bins in (1, 2, 3, 6)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, h, w] to [N, 2·channels, h, w]."""
        h, w = x.shape[-2:]
        return torch.cat([x, *(resize(part(x), (h, w)) for part in self.features)], dim=1)


def _head(inputs: int, width: int, last: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout2d(0.1),
        last,
    )


class CityscapesPsp18(nn.Module):
    """The network: 512 channels at 1/8 of the image's size, rounded up."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layer0 = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.layer1 = stage(64, 64)
        self.layer2 = stage(64, 128, stride=2)
        self.layer3 = stage(128, 256, dilations=((1, 2), (2, 2)))
        self.layer4 = stage(256, 512, dilations=((1, 4), (4, 4)))
        self.ppm = PyramidPooling(512)
        last = nn.Conv2d(CHANNELS, classes, 1)
        self.cls = _head(1024, CHANNELS, last)
        self.final_conv = last
        self.aux = _head(256, 256, nn.Conv2d(256, classes, 1))

    def _third_stage(self, image: Tensor) -> Tensor:
        third: Tensor = self.layer3(self.layer2(self.layer1(self.layer0(image))))
        return third

    def _decode(self, third: Tensor) -> Tensor:
        feature: Tensor = self.cls[:4](self.ppm(self.layer4(third)))
        return feature

    def feature(self, image: Tensor) -> Tensor:
        """Return [N, 512, h, w]."""
        return self._decode(self._third_stage(image))

    def training_outputs(self, image: Tensor) -> TrainingOutputs:
        """Return the feature and [N, classes, h, w], raw scores from the third stage."""
        third = self._third_stage(image)
        return TrainingOutputs(self._decode(third), (self.aux(third),))
