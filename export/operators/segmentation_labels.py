"""``SegmentationLabels``: the class of every pixel, from logits at the feature's size, and how sure that is.

Contract (domain ``arseg``, version 1)
    ``SegmentationLabels(logits float32 [N, n, h, w], size int64 [2][, confidence_size int64 [2]])
    -> labels uint8 [N, H, W][, confidence uint8 [N, *confidence_size]]``.
    ``size`` is (H, W): the network's image's, or any other. The logits are enlarged ``upscale`` times
    (bilinear, half-pixel centres; 1: not at all), resized to H×W (bilinear; ``align_corners``, 0 or 1, has the
    meaning that it has in PyTorch's ``interpolate``, and is 1 where it is left out), and the largest of the
    n ≤ 256 gives the label; of equal ones the first.
    ``confidence_size``, which a node has with the output ``confidence`` or not at all, is ``size``, or (0, 0) where
    nobody asks, which costs nothing. ``confidence`` is 255 times the label's softmax probability in the resized logits,
    rounded; 0 where that is no number. The kernel, which does not look at every class everywhere, is off by less
    than 1, the rounding included.

A log-softmax before the resizing, as in PSPNet for CamVid, would subtract the same number from all of a
pixel's logits, and the resizing would keep it the same: it never changes a label and is left out.

The kernel is ``runtime/native/kernels/segmentation_labels.cc``; it never holds logits at full resolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from arseg_edge.export.operators.function import OPSET, parse_body
from arseg_edge.operators import DOMAIN, SEGMENTATION_LABELS

if TYPE_CHECKING:
    from torch import Tensor

CONFIDENCE, CONFIDENCE_SIZE = "confidence", "confidence_size"
"""The values of that name in a graph: its output, and the input that asks for it."""

_BODY = """
SegmentationLabels <upscale, align_corners> (INPUTS) => (OUTPUTS)
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
    labels = Cast <to = 2> (indices)CONFIDENCE
}
"""

# What is sliced off is empty where nobody asks. The largest of the exponentials is 1, so that the largest share is one
# over their sum; NaN becomes 0.
_CONFIDENCE = """
    corner = Constant <value = int64[2] {0, 0}> ()
    sides = Constant <value = int64[2] {2, 3}> ()
    asked = Slice (resized, corner, confidence_size, sides)
    class_axis = Constant <value = int64[1] {1}> ()
    largest = LARGEST
    below = Sub (asked, largest)
    parts = Exp (below)
    sum = SUM
    most = Constant <value = float {255.0}> ()
    share = Div (most, sum)
    nearest = Round (share)
    none = Constant <value = float {0.0}> ()
    invalid = IsNaN (nearest)
    valid = Where (invalid, none, nearest)
    confidence = Cast <to = 2> (valid)"""

# The same of operators as they were in opset 11, where Shape had no range, Resize no optional inputs, and Constant
# no value from an attribute.
_BODY_OF_ANY_OPSET = """
SegmentationLabels (INPUTS) => (OUTPUTS)
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
    labels = Cast <to = 2> (indices)CONFIDENCE
}
"""


def body(align_corners: bool = True, *, confidence: bool = False) -> onnx.FunctionProto:
    """Return the operator in standard ONNX, with the output ``confidence`` or without; ``upscale`` is passed on."""
    return parse_body(_completed(_BODY, align_corners, OPSET if confidence else None))


def body_of_any_opset(opset: int, *, upscale: int, align_corners: bool, confidence: bool = False) -> onnx.FunctionProto:
    """Return the operator, for these attributes alone, in standard ONNX of an ``opset`` from 11 on."""
    text = _completed(_BODY_OF_ANY_OPSET, align_corners, opset if confidence else None)
    return parse_body(text.replace("UPSCALE", str(upscale)), opset)


def _completed(text: str, align_corners: bool, confidence_in: int | None) -> str:
    """Return a body with its resizing rule, and with the confidence in the operators of an opset, or without."""
    text = text.replace("COORDINATES", "align_corners" if align_corners else "half_pixel")
    if confidence_in is None:
        return text.replace("INPUTS", "logits, size").replace("OUTPUTS", "labels").replace("CONFIDENCE", "")
    # From an attribute the axes became an input, of a sum in opset 13, of all in 18.
    largest = "ReduceMax (asked, class_axis)" if confidence_in >= 18 else "ReduceMax <axes = [1]> (asked)"
    total = "ReduceSum <keepdims = 0> (parts, class_axis)"
    total = total if confidence_in >= 13 else "ReduceSum <axes = [1], keepdims = 0> (parts)"
    text = text.replace("INPUTS", "logits, size, confidence_size").replace("OUTPUTS", "labels, confidence")
    return text.replace("CONFIDENCE", _CONFIDENCE.replace("LARGEST", largest).replace("SUM", total))


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


def winners_share(logits: Tensor) -> Tensor:
    """Return the confidence, uint8 [N, H, W], of resized ``logits`` [N, n, H, W]."""
    import torch

    share = logits.softmax(dim=1).amax(dim=1)
    return (255 * share).round().nan_to_num(0).to(torch.uint8)


def segmentation_labels_node(
    logits: str, size: str, labels: str, *, upscale: int, align_corners: bool = True, confidence: bool = False
) -> onnx.NodeProto:
    """Return the node that makes the value ``labels`` of ``logits`` and ``size``.

    With ``confidence`` it makes that value, too, of ``confidence_size``.
    """
    attributes = {"upscale": upscale, "align_corners": int(align_corners)}
    inputs = [logits, size, CONFIDENCE_SIZE] if confidence else [logits, size]
    outputs = [labels, CONFIDENCE] if confidence else [labels]
    node = onnx.helper.make_node(SEGMENTATION_LABELS, inputs, outputs, SEGMENTATION_LABELS, domain=DOMAIN)
    node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in attributes.items())
    return node


def declare_confidence(graph: onnx.GraphProto) -> None:
    """Declare the confidence as the graph's last output, and its size as the last input."""
    shape: list[str | int | None] = [1, "confidence_height", "confidence_width"]
    graph.input.append(onnx.helper.make_tensor_value_info(CONFIDENCE_SIZE, onnx.TensorProto.INT64, [2]))
    graph.output.append(onnx.helper.make_tensor_value_info(CONFIDENCE, onnx.TensorProto.UINT8, shape))
