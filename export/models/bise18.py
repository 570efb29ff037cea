"""``camvid-bise18`` and ``cityscapes-bise18``: BiSeNet V1 (Yu et al., ECCV 2018) on ResNet-18."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arseg_edge.export.models.protocol import TrainingOutputs
from arseg_edge.export.models.resizing import enlarge, resize
from arseg_edge.export.models.resnet18 import ResNet18

CHANNELS = 256


class ConvBnRelu(nn.Module):
    """A convolution that keeps the size (or strides), batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, h, w] to [N, outputs, h/stride, w/stride]."""
        return F.relu(self.bn(self.conv(x)))


class AttentionRefinement(nn.Module):
    """Weights channels by what their average over the image says."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvBnRelu(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, h, w] to [N, outputs, h, w]."""
        x = self.conv(x)
        attention: Tensor = self.bn_atten(self.conv_atten(x.mean(dim=(2, 3), keepdim=True)))
        return x * attention.sigmoid()


class Context(NamedTuple):
    """The context path's features, 128 channels each, named by their stride."""

    at_8: Tensor
    at_16: Tensor


class ContextPath(nn.Module):
    """A wide view: ResNet-18 down to 1/32, its last two stages refined and brought back up to 1/8."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet18(dilated=False)
        self.arm16 = AttentionRefinement(256, 128)
        self.arm32 = AttentionRefinement(512, 128)
        self.conv_head32 = ConvBnRelu(128, 128)
        self.conv_head16 = ConvBnRelu(128, 128)
        self.conv_avg = ConvBnRelu(512, 128, kernel_size=1)

    def forward(self, image: Tensor) -> Context:
        """Map [N, 3, H, W] to the features at 1/8 (of a size rounded up to a multiple of 16) and 1/16."""
        at_16, at_32 = self.resnet(image)
        h, w = at_16.shape[-2:]
        summed = self.arm32(at_32) + self.conv_avg(at_32.mean(dim=(2, 3), keepdim=True))
        from_32 = self.conv_head32(resize(enlarge(summed, 2, "nearest"), (h, w)))
        return Context(self.conv_head16(enlarge(self.arm16(at_16) + from_32, 2, "nearest")), from_32)


class SpatialPath(nn.Module):
    """A sharp view: three strided convolutions down to 1/8."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvBnRelu(3, 64, kernel_size=7, stride=2)
        self.conv2 = ConvBnRelu(64, 64, stride=2)
        self.conv3 = ConvBnRelu(64, 64, stride=2)
        self.conv_out = ConvBnRelu(64, 128, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map [N, 3, H, W] to [N, 128, H/8, W/8]."""
        spatial: Tensor = self.conv_out(self.conv3(self.conv2(self.conv1(image))))
        return spatial


class FeatureFusion(nn.Module):
    """Mixes the two paths and weights the channels by their average over the image."""

    def __init__(self) -> None:
        super().__init__()
        self.convblk = ConvBnRelu(256, 256, kernel_size=1)
        self.conv = nn.Conv2d(256, 256, 1, bias=False)
        self.bn = nn.BatchNorm2d(256)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        """Map two [N, 128, h, w] to [N, 256, h, w]."""
        x: Tensor = self.convblk(torch.cat([spatial, context], dim=1))
        attention: Tensor = self.bn(self.conv(x.mean(dim=(2, 3), keepdim=True)))
        return x + x * attention.sigmoid()


class Output(nn.Module):
    """A 3×3 convolution to the feature and a 1×1 to the classes."""

    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvBnRelu(inputs, width)
        self.conv_out = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, h, w] to [N, classes, h, w]."""
        scores: Tensor = self.conv_out(self.conv(x))
        return scores


class Bise18(nn.Module):
    """The network: 256 channels at 1/8 of the image's size rounded up to a multiple of 16."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.sp = SpatialPath()
        self.ffm = FeatureFusion()
        self.conv_out = Output(256, CHANNELS, classes)
        self.feat_conv_out = self.conv_out.conv
        self.final_conv = self.conv_out.conv_out
        self.conv_out16 = Output(128, 64, classes)
        self.conv_out32 = Output(128, 64, classes)

    def _decode(self, image: Tensor, context: Tensor) -> Tensor:
        h, w = context.shape[-2:]
        feature: Tensor = self.feat_conv_out(self.ffm(resize(self.sp(image), (h, w)), context))
        return feature

    def feature(self, image: Tensor) -> Tensor:
        """Return [N, 256, h, w]."""
        return self._decode(image, self.cp(image).at_8)

    def training_outputs(self, image: Tensor) -> TrainingOutputs:
        """Return the feature and, from the context at 1/8 and 1/16, scores at the rounded-up image size."""
        context = self.cp(image)
        auxiliary = (enlarge(self.conv_out16(context.at_8), 8), enlarge(self.conv_out32(context.at_16), 16))
        return TrainingOutputs(self._decode(image, context.at_8), auxiliary)
