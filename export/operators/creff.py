"""``Creff``: cross-resolution feature fusion and the last layer, in one operator.

Contract (domain ``arseg``, version 1)
    ``Creff(lr_feature [N, C, h', w'], keyframe_feature [N, C, h, w], motion [N, H, W, 2],
    query_weight [C, 1, 3, 3], query_bias [C], key_weight, key_bias, value_weight, value_bias,
    head_weight [n, C, 1, 1], head_bias [n]) -> logits [N, n, h, w]``, all float32.

    Hu et al., CVPR 2023, section 3.3: the LR feature is resized to [h, w] (bilinear, corners aligned), the
    keyframe's feature warped by ``MotionWarp``; query is a depthwise 3×3 convolution of the former, key and
    value of the latter (zero padding, bias); ``LocalAttention`` of the three is added to the resized LR
    feature; a 1×1 convolution, the network's last layer, gives the logits.

Attributes: ``sampling`` and ``kernel_size`` as in ``MotionWarp`` and ``LocalAttention``; ``channels`` is C,
which the body's convolutions need to know.

``CreffUint8`` takes the keyframe's feature in eight bits, a quarter of the memory and of what is read of it:
    ``CreffUint8(lr_feature, keyframe_feature uint8, motion, …, head_bias, feature_scale float32,
    feature_zero_point uint8) -> logits`` is ``Creff`` of (keyframe_feature − feature_zero_point)·feature_scale.
    Scale and zero point are both scalars, or both [C]. Attributes are the same.

As one operator it can run over bands of rows that stay in the cache: for features at full resolution a
tensor not written is the time that counts. The kernel is ``runtime/native/kernels/creff.cc``.
"""

from __future__ import annotations

from typing import NamedTuple

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

from arseg_edge.export.operators.function import emit, parse_body
from arseg_edge.export.operators.local_attention import local_attention
from arseg_edge.export.operators.motion_warp import motion_warp
from arseg_edge.operators import CREFF, Sampling

_BODY = """
Creff <sampling, kernel_size, channels>
    (lr_feature, keyframe_feature, motion,
     query_weight, query_bias, key_weight, key_bias, value_weight, value_bias, head_weight, head_bias)
    => (logits)
{
    target = Shape (keyframe_feature)
    resized_lr_feature = Resize <mode = "linear", coordinate_transformation_mode = "align_corners">
        (lr_feature, , , target)
    warped_feature = arseg.MotionWarp <sampling: string = @sampling> (keyframe_feature, motion)
    query = Conv <pads = [1, 1, 1, 1], group: int = @channels> (resized_lr_feature, query_weight, query_bias)
    key = Conv <pads = [1, 1, 1, 1], group: int = @channels> (warped_feature, key_weight, key_bias)
    value = Conv <pads = [1, 1, 1, 1], group: int = @channels> (warped_feature, value_weight, value_bias)
    attended = arseg.LocalAttention <kernel_size: int = @kernel_size> (query, key, value)
    fused_feature = Add (resized_lr_feature, attended)
    logits = Conv (fused_feature, head_weight, head_bias)
}
"""

_BODY_UINT8 = """
CreffUint8 <sampling, kernel_size, channels>
    (lr_feature, keyframe_feature, motion,
     query_weight, query_bias, key_weight, key_bias, value_weight, value_bias, head_weight, head_bias,
     feature_scale, feature_zero_point)
    => (logits)
{
    feature = DequantizeLinear <axis = 1> (keyframe_feature, feature_scale, feature_zero_point)
    logits = arseg.Creff <sampling: string = @sampling, kernel_size: int = @kernel_size, channels: int = @channels>
        (lr_feature, feature, motion,
         query_weight, query_bias, key_weight, key_bias, value_weight, value_bias, head_weight, head_bias)
}
"""


class CreffWeights(NamedTuple):
    """The fusion's parameters, in the order of the operator's inputs."""

    query_weight: Tensor
    query_bias: Tensor
    key_weight: Tensor
    key_bias: Tensor
    value_weight: Tensor
    value_bias: Tensor


class Fusion(NamedTuple):
    """What CReFF computes before the last layer, float32 [N, C, h, w] each."""

    warped: Tensor
    """The keyframe's feature, moved to the frame."""
    fused: Tensor
    """The low-resolution feature at the keyframe's size, with the warped one blended in."""


def body() -> onnx.FunctionProto:
    """Return the operator in terms of standard ONNX and the two operators inside."""
    return parse_body(_BODY)


def body_uint8() -> onnx.FunctionProto:
    """Return ``CreffUint8`` in terms of standard ONNX and ``Creff``."""
    return parse_body(_BODY_UINT8)


def fuse(
    lr_feature: Tensor,
    keyframe_feature: Tensor,
    motion: Tensor,
    weights: CreffWeights,
    *,
    sampling: Sampling,
    kernel_size: int,
) -> Fusion:
    """Return the operator's stages before the last layer: what training and the parity tests look at."""
    channels, h, w = keyframe_feature.shape[1:]
    resized = F.interpolate(lr_feature, size=(h, w), mode="bilinear", align_corners=True)
    warped = motion_warp(keyframe_feature, motion, sampling=sampling)
    query = F.conv2d(resized, weights.query_weight, weights.query_bias, padding=1, groups=channels)
    key = F.conv2d(warped, weights.key_weight, weights.key_bias, padding=1, groups=channels)
    value = F.conv2d(warped, weights.value_weight, weights.value_bias, padding=1, groups=channels)
    return Fusion(warped, resized + local_attention(query, key, value, kernel_size=kernel_size))


def creff(
    lr_feature: Tensor,
    keyframe_feature: Tensor,
    motion: Tensor,
    weights: CreffWeights,
    head: tuple[Tensor, Tensor],
    *,
    sampling: Sampling,
    kernel_size: int,
) -> Tensor:
    """Return the logits [N, n, h, w]; ``head`` is the last layer's weight and bias; the contract is the module's.

    While a model is exported this becomes one ``arseg::Creff`` node.
    """
    if torch.compiler.is_exporting():
        n, channels, h, w = keyframe_feature.shape
        attributes = {"sampling": sampling, "kernel_size": kernel_size, "channels": channels}
        inputs = (lr_feature, keyframe_feature, motion, *weights, *head)
        return emit(CREFF, inputs, attributes, shape=(n, head[0].shape[0], h, w))
    fusion = fuse(lr_feature, keyframe_feature, motion, weights, sampling=sampling, kernel_size=kernel_size)
    return F.conv2d(fusion.fused, *head)
