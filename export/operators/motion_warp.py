"""``MotionWarp``: the keyframe's feature, moved to where the frame's motion says that it went.

Contract (domain ``arseg``, version 1)
    ``MotionWarp(feature [N, C, h, w], motion [N, H, W, 2]) -> warped [N, C, h, w]``, all float32.
    ``motion`` is in cells of its grid, pixels where that is the frame, (dx, dy), from frame to keyframe: what stands at
    (x, y) in the frame stood at (x + dx, y + dy) in the keyframe.

Attribute ``sampling`` names the rule:

``published``
    What the released weights were trained with (Hu et al., CVPR 2023, and their code). Both components
    are multiplied by h/H; the map is resized to [h, w], bilinear, corners aligned; x + dx is normalised as
    if corners were aligned and sampled as if they were not, so that the sampling point in pixels is
    (x + dx)·w/(w − 1) − 0.5 (with w = 1: x + dx). Bilinear, zeros outside. A displacement that is not a
    number samples outside.
``consistent``
    For newly trained models: dx is multiplied by w/W and dy by h/H, the map is resized with half-pixel
    centres, and the sampling point is (x + dx, y + dy). Bilinear, the border repeats. A component of the
    motion that is not a number counts as zero, an infinite one reaches the border.

``MotionWarpUint8(feature uint8, motion, feature_scale float32, feature_zero_point uint8) -> float32 [N, C, h, w]`` is
``MotionWarp`` of (feature − feature_zero_point)·feature_scale; scale and zero point are both scalars, or both [C].

The kernel is ``runtime/native/kernels/motion_warp.cc``.
"""

from __future__ import annotations

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

from arseg_edge.export.operators.function import emit, parse_body
from arseg_edge.operators import MOTION_WARP, Sampling

_HEAD = """
    h_w = Shape <start = 2> (feature)
    H_W = Shape <start = 1, end = 3> (motion)
    h_w_float = Cast <to = 1> (h_w)
    H_W_float = Cast <to = 1> (H_W)
    ratio = Div (h_w_float, H_W_float)
    ratio_y, ratio_x = Split <axis = 0, num_outputs = 2> (ratio)
    h, w = Split <axis = 0, num_outputs = 2> (h_w)
    one = Constant <value = int64[1] {1}> ()
    zero = Constant <value = int64[1] {0}> ()
    two = Constant <value = int64[1] {2}> ()
    planes = Transpose <perm = [0, 3, 1, 2]> (motion)
    batch_two = Shape <end = 2> (planes)
    target = Concat <axis = 0> (batch_two, h_w)
"""

# Positions of the feature's pixels, and the divisor of the normalised coordinates, kept from being zero.
_POSITIONS = """
    scalar_zero = Squeeze (zero)
    scalar_one = Squeeze (one)
    h_scalar = Squeeze (h)
    w_scalar = Squeeze (w)
    columns_int = Range (scalar_zero, w_scalar, scalar_one)
    columns = Cast <to = 1> (columns_int)
    rows_int = Range (scalar_zero, h_scalar, scalar_one)
    rows_flat = Cast <to = 1> (rows_int)
    rows = Unsqueeze (rows_flat, one)
    x = Add (dx, columns)
    y = Add (dy, rows)
    w_minus_one = Sub (w, one)
    w_edge = Max (w_minus_one, one)
    w_edge_float = Cast <to = 1> (w_edge)
    h_minus_one = Sub (h, one)
    h_edge = Max (h_minus_one, one)
    h_edge_float = Cast <to = 1> (h_edge)
    two_float = Constant <value = float[1] {2.0}> ()
    x_twice = Mul (x, two_float)
    y_twice = Mul (y, two_float)
    x_span = Div (x_twice, w_edge_float)
    y_span = Div (y_twice, h_edge_float)
"""

# The grid is clipped well outside [-1, 1]: there every tap is zero, and no sampler meets a coordinate
# that does not fit its integers.
_PUBLISHED = f"""
MotionWarp <sampling> (feature, motion) => (warped)
{{
    {_HEAD}
    resized = Resize <mode = "linear", coordinate_transformation_mode = "align_corners">
        (planes, , , target)
    dx_full, dy_full = Split <axis = 1, num_outputs = 2> (resized)
    dx = Mul (dx_full, ratio_y)
    dy = Mul (dy_full, ratio_y)
    {_POSITIONS}
    w_many = Greater (w, one)
    x_offset = Cast <to = 1> (w_many)
    h_many = Greater (h, one)
    y_offset = Cast <to = 1> (h_many)
    x_normal = Sub (x_span, x_offset)
    y_normal = Sub (y_span, y_offset)
    planes_normal = Concat <axis = 1> (x_normal, y_normal)
    low = Constant <value = float {{-4.0}}> ()
    high = Constant <value = float {{4.0}}> ()
    clipped = Clip (planes_normal, low, high)
    undefined = IsNaN (planes_normal)
    defined = Where (undefined, high, clipped)
    grid = Transpose <perm = [0, 2, 3, 1]> (defined)
    warped = GridSample <mode = "bilinear", padding_mode = "zeros", align_corners = 0> (feature, grid)
}}
"""

_CONSISTENT = f"""
MotionWarp <sampling> (feature, motion) => (warped)
{{
    {_HEAD}
    zero_float = Constant <value = float {{0.0}}> ()
    undefined = IsNaN (planes)
    numbers = Where (undefined, zero_float, planes)
    low = Constant <value = float {{-1e30}}> ()
    high = Constant <value = float {{1e30}}> ()
    bounded = Clip (numbers, low, high)
    resized = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel">
        (bounded, , , target)
    dx_full, dy_full = Split <axis = 1, num_outputs = 2> (resized)
    dx = Mul (dx_full, ratio_x)
    dy = Mul (dy_full, ratio_y)
    {_POSITIONS}
    one_float = Constant <value = float {{1.0}}> ()
    minus_one_float = Constant <value = float {{-1.0}}> ()
    planes_span = Concat <axis = 1> (x_span, y_span)
    planes_normal = Sub (planes_span, one_float)
    clipped = Clip (planes_normal, minus_one_float, one_float)
    grid = Transpose <perm = [0, 2, 3, 1]> (clipped)
    warped = GridSample <mode = "bilinear", padding_mode = "border", align_corners = 1> (feature, grid)
}}
"""

_UINT8 = """
MotionWarpUint8 <sampling> (feature, motion, feature_scale, feature_zero_point) => (warped)
{
    numbers = DequantizeLinear <axis = 1> (feature, feature_scale, feature_zero_point)
    warped = arseg.MotionWarp <sampling: string = @sampling> (numbers, motion)
}
"""


def body(sampling: Sampling) -> onnx.FunctionProto:
    """Return the operator in standard ONNX for one sampling rule; it holds two maps of the feature's size."""
    return parse_body({"published": _PUBLISHED, "consistent": _CONSISTENT}[sampling])


def body_uint8() -> onnx.FunctionProto:
    """Return ``MotionWarpUint8`` in terms of standard ONNX and ``MotionWarp``."""
    return parse_body(_UINT8)


def motion_warp(feature: Tensor, motion: Tensor, *, sampling: Sampling) -> Tensor:
    """Warp ``feature`` float32 [N, C, h, w] by ``motion`` float32 [N, H, W, 2]; the contract is the module's.

    While a model is exported this becomes one ``arseg::MotionWarp`` node.

    >>> feature = torch.arange(4.0).reshape(1, 1, 1, 4)
    >>> one_to_the_right = torch.tensor([1.0, 0.0]).expand(1, 1, 4, 2)
    >>> motion_warp(feature, one_to_the_right, sampling="consistent").flatten().tolist()
    [1.0, 2.0, 3.0, 3.0]
    """
    if torch.compiler.is_exporting():
        return emit(MOTION_WARP, (feature, motion), {"sampling": sampling}, shape=feature.shape)
    published = sampling == "published"
    h, w = feature.shape[-2:]
    ratio_y, ratio_x = h / motion.shape[1], w / motion.shape[2]
    ratio = motion.new_tensor([ratio_y if published else ratio_x, ratio_y])
    if not published:
        motion = motion.nan_to_num(0.0).clamp(-1e30, 1e30)
    planes = (motion * ratio).permute(0, 3, 1, 2)
    dx, dy = F.interpolate(planes, size=(h, w), mode="bilinear", align_corners=published).unbind(1)
    x = torch.arange(w, dtype=feature.dtype, device=feature.device) + dx
    y = torch.arange(h, dtype=feature.dtype, device=feature.device)[:, None] + dy
    x = 2.0 * x / max(w - 1, 1) - (0.0 if published and w == 1 else 1.0)
    y = 2.0 * y / max(h - 1, 1) - (0.0 if published and h == 1 else 1.0)
    grid = torch.stack([x, y], dim=-1)
    if published:
        grid = grid.clamp(-4.0, 4.0).nan_to_num(4.0)
        return F.grid_sample(feature, grid, padding_mode="zeros", align_corners=False)
    return F.grid_sample(feature, grid.clamp(-1.0, 1.0), padding_mode="border", align_corners=True)
