"""``NormalizeImage``: the frame's bytes as the network's input, at the size that the branch takes.

Contract (domain ``arseg``, version 1)
    ``NormalizeImage(frame uint8 [N, H, W, 3], size int64 [2]) -> image float32 [N, 3, H', W']``.
    ``size`` is (H', W'). Every channel is (value/255 − mean)/std, resized bilinearly with aligned corners
    and without antialiasing: what the released code does to an image, in one pass.

Attributes ``mean_r``, ``mean_g``, ``mean_b``, ``std_r``, ``std_g``, ``std_b``: floats, for values in 0 … 1.

``NormalizeImageUint8(frame, size, image_scale float32 [], image_zero_point uint8 []) -> image uint8 [N, 3, H', W']``
is that image in steps of ``image_scale`` from ``image_zero_point`` on, rounded as ``QuantizeLinear`` rounds: what a
first convolution in eight bits takes.

The kernel is ``runtime/native/kernels/normalize_image.cc``.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import torch.nn.functional as F
from torch import Tensor

from arseg_edge.export.operators.function import parse_body
from arseg_edge.operators import DOMAIN, NORMALIZE_IMAGE

# Resizing is linear, so the bytes are resized first: the affine part then runs on the smaller image.
_BODY = """
NormalizeImage <mean_r, mean_g, mean_b, std_r, std_g, std_b> (frame, size) => (image)
{
    planes = Transpose <perm = [0, 3, 1, 2]> (frame)
    values = Cast <to = 1> (planes)
    batch_channels = Shape <end = 2> (planes)
    target = Concat <axis = 0> (batch_channels, size)
    resized = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (values, , , target)
    mean_r_value = Constant <value_float: float = @mean_r> ()
    mean_g_value = Constant <value_float: float = @mean_g> ()
    mean_b_value = Constant <value_float: float = @mean_b> ()
    std_r_value = Constant <value_float: float = @std_r> ()
    std_g_value = Constant <value_float: float = @std_g> ()
    std_b_value = Constant <value_float: float = @std_b> ()
    channel_shape = Constant <value = int64[4] {1, 1, 1, 1}> ()
    mean_r_plane = Reshape (mean_r_value, channel_shape)
    mean_g_plane = Reshape (mean_g_value, channel_shape)
    mean_b_plane = Reshape (mean_b_value, channel_shape)
    mean = Concat <axis = 1> (mean_r_plane, mean_g_plane, mean_b_plane)
    std_r_plane = Reshape (std_r_value, channel_shape)
    std_g_plane = Reshape (std_g_value, channel_shape)
    std_b_plane = Reshape (std_b_value, channel_shape)
    std = Concat <axis = 1> (std_r_plane, std_g_plane, std_b_plane)
    full = Constant <value = float {255.0}> ()
    std_full = Mul (std, full)
    mean_full = Mul (mean, full)
    centred = Sub (resized, mean_full)
    image = Div (centred, std_full)
}
"""

_BODY_UINT8 = """
NormalizeImageUint8 <mean_r, mean_g, mean_b, std_r, std_g, std_b>
    (frame, size, image_scale, image_zero_point) => (image)
{
    numbers = arseg.NormalizeImage
        <mean_r: float = @mean_r, mean_g: float = @mean_g, mean_b: float = @mean_b,
         std_r: float = @std_r, std_g: float = @std_g, std_b: float = @std_b> (frame, size)
    image = QuantizeLinear (numbers, image_scale, image_zero_point)
}
"""


def body() -> onnx.FunctionProto:
    """Return the operator in standard ONNX; its attributes are passed on."""
    return parse_body(_BODY)


def body_uint8() -> onnx.FunctionProto:
    """Return ``NormalizeImageUint8`` in terms of standard ONNX and ``NormalizeImage``."""
    return parse_body(_BODY_UINT8)


def normalize_image(frame: Tensor, size: tuple[int, int], *, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return ``frame`` uint8 [N, H, W, 3] as float32 [N, 3, H', W'] for ``size`` (H', W')."""
    values = frame.permute(0, 3, 1, 2).float() / 255.0
    normal = (values - values.new_tensor(mean).view(3, 1, 1)) / values.new_tensor(std).view(3, 1, 1)
    return F.interpolate(normal, size=size, mode="bilinear", align_corners=True)


def normalize_image_node(
    frame: str, size: str, image: str, *, mean: Sequence[float], std: Sequence[float]
) -> onnx.NodeProto:
    """Return the node that makes the value ``image`` of ``frame`` and ``size``."""
    names = [f"{kind}_{channel}" for kind in ("mean", "std") for channel in "rgb"]
    attributes = dict(zip(names, map(float, (*mean, *std)), strict=True))
    node = onnx.helper.make_node(NORMALIZE_IMAGE, [frame, size], [image], NORMALIZE_IMAGE, domain=DOMAIN)
    node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in attributes.items())
    return node
