"""``camvid-psp18``: PSPNet (Zhao et al., CVPR 2017) on ResNet-18, its feature at the image's size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arseg_edge.export.models.pooling import AdaptiveAveragePool
from arseg_edge.export.models.protocol import TrainingOutputs
from arseg_edge.export.models.resizing import enlarge
from arseg_edge.export.models.resnet18 import ResNet18

CHANNELS = 64


class PyramidPooling(nn.Module):
    """Averages over 1, 4, 9 and 36 parts of the image, in front of the feature itself, mixed to 1024."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(AdaptiveAveragePool(bins), nn.Conv2d(channels, channels, 1, bias=False))
            for bins in (1, 2, 3, 6)
        )
        self.bottleneck = nn.Conv2d(5 * channels, 1024, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, h, w] to [N, 1024, h, w]."""
        size = x.shape[-2:]
        priors = [F.interpolate(stage(x), size=size, mode="bilinear") for stage in self.stages]
        return F.relu(self.bottleneck(torch.cat([*priors, x], dim=1)))


class Upsample(nn.Module):
    """Twice the size, then 3×3 convolution, batch norm and PReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, h, w] to [N, outputs, 2h, 2w]."""
        upsampled: Tensor = self.conv(enlarge(x, 2))
        return upsampled


class CamvidPsp18(nn.Module):
    """The network: 64 channels at stride 1 of the image's size rounded up to a multiple of 8.

    The published code ends in log-softmax; here the scores stay raw, since no label and no cross-entropy
    changes with it.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.feats = ResNet18(dilated=True)
        self.psp = PyramidPooling(512)
        self.drop_1 = nn.Dropout2d(0.3)
        self.up_1 = Upsample(1024, 256)
        self.up_2 = Upsample(256, 64)
        self.up_3 = Upsample(64, CHANNELS)
        self.drop_2 = nn.Dropout2d(0.15)
        self.final_conv = nn.Conv2d(CHANNELS, classes, 1)
        self.classifier = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, classes))

    def _decode(self, x: Tensor) -> Tensor:
        x = self.drop_1(self.psp(x))
        for upsample in (self.up_1, self.up_2, self.up_3):
            x = self.drop_2(upsample(x))
        return x

    def feature(self, image: Tensor) -> Tensor:
        """Return [N, 64, h, w]."""
        return self._decode(self.feats(image).fourth)

    def training_outputs(self, image: Tensor) -> TrainingOutputs:
        """Return the feature and [N, classes], scores for a class being anywhere in the image."""
        stages = self.feats(image)
        strongest = stages.third.amax(dim=(2, 3))
        return TrainingOutputs(self._decode(stages.fourth), (self.classifier(strongest),))
