"""``SegmentationLabels``: the class of every pixel, from logits at the feature's size.

Contract (domain ``arseg``, version 1)
    ``SegmentationLabels(logits float32 [N, n, h, w], size int64 [2]) -> labels uint8 [N, H, W]``.
    ``size`` is (H, W): the network's image's, or any other. The logits are enlarged ``upscale`` times
    (bilinear, half-pixel centres; 1: not at all), resized to H×W (bilinear; ``align_corners``, 0 or 1, has the
    meaning that it has in PyTorch's ``interpolate``, and is 1 where it is left out), and the largest of the
    n ≤ 256 gives the label; of equal ones the first.

A log-softmax before the resizing, as in PSPNet for CamVid, would subtract the same number from all of a
pixel's logits, and the resizing would keep it the same: it never changes a label and is left out.

The kernel is ``runtime/native/kernels/segmentation_labels.cc``; it never holds logits at full resolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from arseg_edge.export.operators.function import parse_body
from arseg_edge.operators import DOMAIN, SEGMENTATION_LABELS

if TYPE_CHECKING:
    from torch import Tensor

_BODY = """
SegmentationLabels <upscale, align_corners> (logits, size) => (labels)
{
    factor_int = Constant <value_int: int = @upscale> ()
    one_axis = Constant <value = int64[1] {1}> ()
    factor_vector = Reshape (factor_int, one_axis)
    small_size = Shape <start = 2> (logits)
    large_size = Mul (small_size, factor_vector)
    batch_classes = Shape <end = 2> (logits)
    large = Concat <axis = 0> (batch_classes, large_size)
    upscaled = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (logits, , , large)
    target = Concat <axis = 0> (batch_classes, size)
    resized = Resize <mode = "linear", coordinate_transformation_mode = "COORDINATES"> (upscaled, , , target)
    indices = ArgMax <axis = 1, keepdims = 0> (resized)
    labels = Cast <to = 2> (indices)
}
"""


# The same of operators as they were in opset 11, where Shape had no range, Resize no optional inputs, and Constant
# no value from an attribute.
_BODY_OF_ANY_OPSET = """
SegmentationLabels (logits, size) => (labels)
{
    factor = Constant <value = int64[1] {UPSCALE}> ()
    all_axes = Shape (logits)
    zero = Constant <value = int64[1] {0}> ()
    two = Constant <value = int64[1] {2}> ()
    four = Constant <value = int64[1] {4}> ()
    batch_classes = Slice (all_axes, zero, two)
    small_size = Slice (all_axes, two, four)
    nothing = Constant <value = float[0] {}> ()
    large_size = Mul (small_size, factor)
    large = Concat <axis = 0> (batch_classes, large_size)
    upscaled = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel"> (logits, nothing, nothing, large)
    target = Concat <axis = 0> (batch_classes, size)
    resized = Resize <mode = "linear", coordinate_transformation_mode = "COORDINATES">
        (upscaled, nothing, nothing, target)
    indices = ArgMax <axis = 1, keepdims = 0> (resized)
    labels = Cast <to = 2> (indices)
}
"""


def body(align_corners: bool = True) -> onnx.FunctionProto:
    """Return the operator in standard ONNX; ``upscale`` is passed on."""
    return parse_body(_BODY.replace("COORDINATES", "align_corners" if align_corners else "half_pixel"))


def body_of_any_opset(opset: int, *, upscale: int, align_corners: bool) -> onnx.FunctionProto:
    """Return the operator, for these attributes alone, in standard ONNX that is the same from opset 11 on."""
    text = _BODY_OF_ANY_OPSET.replace("COORDINATES", "align_corners" if align_corners else "half_pixel")
    return parse_body(text.replace("UPSCALE", str(upscale)), opset)


def resize_logits(logits: Tensor, size: tuple[int, int], *, upscale: int, align_corners: bool = True) -> Tensor:
    """Return ``logits`` [N, n, h, w] as [N, n, H, W] by the operator's two steps."""
    import torch.nn.functional as F

    if upscale > 1:
        logits = F.interpolate(logits, scale_factor=upscale, mode="bilinear", align_corners=False)
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=align_corners)


def segmentation_labels(logits: Tensor, size: tuple[int, int], *, upscale: int, align_corners: bool = True) -> Tensor:
    """Return uint8 labels [N, H, W] for ``logits`` float32 [N, n, h, w] and ``size`` (H, W)."""
    import torch

    return resize_logits(logits, size, upscale=upscale, align_corners=align_corners).argmax(dim=1).to(torch.uint8)


def segmentation_labels_node(
    logits: str, size: str, labels: str, *, upscale: int, align_corners: bool = True
) -> onnx.NodeProto:
    """Return the node that makes the value ``labels`` of ``logits`` and ``size``."""
    attributes = {"upscale": upscale, "align_corners": int(align_corners)}
    node = onnx.helper.make_node(SEGMENTATION_LABELS, [logits, size], [labels], SEGMENTATION_LABELS, domain=DOMAIN)
    node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in attributes.items())
    return node
