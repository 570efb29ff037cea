"""What a network must offer to be exported, and trained, as an AR-Seg model.

A network of one's own is an ``nn.Module`` that splits in front of its last layer::

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 16, 3, stride=4, padding=1), nn.ReLU())
            self.final_conv = nn.Conv2d(16, 5, 1)

        def feature(self, image: Tensor) -> Tensor:
            return self.body(image)

    SMALL = Family("small", ClassSet(names, colours), channels=16, stride=4, network=Small, align_corners=False)

As a ``Family`` (``export/families.py``) it serves at both resolutions: as it is on keyframes, and with a
``CReFF`` of its own, under the name ``fuse_attention``, on the frames between.
``feature`` is traced by ``torch.export`` with symbols for height and width: it must not branch on them.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor, nn

from arseg_edge.errors import OperatorError, reason_of
from arseg_edge.export.models.creff import CReFF
from arseg_edge.export.models.sum_of_layers import SumOfLayers

Head = nn.Conv2d | SumOfLayers
"""A last layer: ``weight`` float32 [n, C, k, k] and, where there is one, ``bias`` [n]."""


class SegmentationNetwork(Protocol):
    """An ``nn.Module`` in two parts, a feature extractor and a last layer."""

    @property
    def final_conv(self) -> Head:
        """The last layer, a convolution from the C channels of the feature to the n classes that keeps the size.

        It is fastest where it is 1×1. What comes out is enlarged by the family's ``upscale`` and resized to the image.
        """

    def feature(self, image: Tensor) -> Tensor:
        """Return what goes into ``final_conv``, float32 [N, C, h, w], for a normalised image [N, 3, H, W]."""


def feature_of(network: SegmentationNetwork, image: Tensor) -> Tensor:
    """Return ``network.feature(image)``.

    Raises:
        OperatorError: it fails, as it does where a network takes only some sizes.
    """
    try:
        return network.feature(image)
    except Exception as error:  # whatever a network of somebody's own raises
        raise OperatorError(
            f"{type(network).__name__}.feature fails on an image of {image.shape[2]}x{image.shape[3]} "
            f"({reason_of(error)}): let it take every size, or export for a fixed one"
        ) from error


class FusionNetwork(SegmentationNetwork, Protocol):
    """A network for the frames between keyframes: it takes the keyframe's feature in."""

    @property
    def fuse_attention(self) -> CReFF:
        """The fusion of ``feature(low-resolution image)`` with the keyframe's feature."""


class TrainingOutputs(NamedTuple):
    """A feature, and what the heads say that only training has."""

    feature: Tensor
    auxiliary: tuple[Tensor, ...]
    """Raw scores: [N, n] for classes being anywhere in the image, or maps [N, n, H', W']."""


class TrainableNetwork(SegmentationNetwork, Protocol):
    """A network with such heads; one without them is trained on its feature and logits alone."""

    def training_outputs(self, image: Tensor) -> TrainingOutputs:
        """Return ``feature(image)`` together with the auxiliary scores, for an image [N, 3, H, W]."""
