"""CReFF, cross-resolution feature fusion (Hu et al., CVPR 2023, section 3.3), as a layer."""

from __future__ import annotations

from torch import Tensor, nn

from arseg_edge.export.operators.creff import CreffWeights, Fusion, fuse
from arseg_edge.operators import Sampling


class CReFF(nn.Module):
    """Blends a keyframe's feature into the feature of a low-resolution frame, by local attention.

    ``channels`` is C of both features, ``kernel_size`` the side of the neighbourhood that a pixel attends
    to, and ``sampling`` the rule of the warp (``export/operators/motion_warp.py``).
    """

    def __init__(self, channels: int, *, kernel_size: int, sampling: Sampling) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.sampling: Sampling = sampling
        self.lr_query_conv = _depthwise(channels)
        self.hr_key_conv = _depthwise(channels)
        self.hr_value_conv = _depthwise(channels)

    @property
    def operator_weights(self) -> CreffWeights:
        """The parameters as the operator takes them."""
        query, key, value = self.lr_query_conv, self.hr_key_conv, self.hr_value_conv
        biases = [conv.bias for conv in (query, key, value) if conv.bias is not None]
        return CreffWeights(query.weight, biases[0], key.weight, biases[1], value.weight, biases[2])

    def forward(self, lr_feature: Tensor, keyframe_feature: Tensor, motion: Tensor) -> Fusion:
        """Fuse ``lr_feature`` [N, C, h', w'] with ``keyframe_feature`` [N, C, h, w], all float32.

        ``motion`` [N, H, W, 2] is in pixels of the full frame, (dx, dy) from the frame to the keyframe.
        """
        return fuse(
            lr_feature,
            keyframe_feature,
            motion,
            self.operator_weights,
            sampling=self.sampling,
            kernel_size=self.kernel_size,
        )


def _depthwise(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
