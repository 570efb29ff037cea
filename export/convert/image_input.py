"""What a model takes: its one picture, as far as the graph says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnx import TensorProto

from arseg_edge.errors import ModelError, UsageError
from arseg_edge.export.convert.given_model import GivenModel
from arseg_edge.export.convert.request import Layout

MOST_CHANNELS: Final = 4

_DTYPES: Final[dict[int, DTypeLike]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.DOUBLE: np.float64,
    TensorProto.UINT8: np.uint8,
}


@dataclass(frozen=True)
class ImageInput:
    """A picture [1, C, H, W] or [1, H, W, C]."""

    name: str
    kind: int
    """Of its numbers, as ``onnx.TensorProto`` counts them."""
    layout: Layout
    channels: int | None
    """None where the graph leaves them open."""
    height: int | None
    width: int | None

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of its numbers, as NumPy has them."""
        return np.dtype(_DTYPES[self.kind])

    @property
    def bytes(self) -> bool:
        """Whether it takes the picture's bytes, which need no normalisation."""
        return self.kind == TensorProto.UINT8


def shown(value: onnx.ValueInfoProto) -> str:
    """Return a value's type and shape for messages, such as ``float [1, 3, height, 512]``."""
    tensor = value.type.tensor_type
    kind = TensorProto.DataType.Name(tensor.elem_type).lower() if tensor.elem_type else "no tensor"
    axes = [str(axis.dim_value) if axis.HasField("dim_value") else axis.dim_param or "?" for axis in tensor.shape.dim]
    return f"{kind} [{', '.join(axes)}]" if tensor.HasField("shape") else kind


def image_input(model: GivenModel, layout: Layout | None) -> ImageInput:
    """Find the picture among the model's inputs.

    Raises:
        ModelError: there is none, or something beside it; it is for several pictures, or of too many channels.
        UsageError: the order of its axes cannot be seen, and ``layout`` does not say it.
    """
    constants = {each.name for each in model.proto.graph.initializer}
    inputs = [each for each in model.proto.graph.input if each.name not in constants]
    if len(inputs) != 1:
        found = ", ".join(f"{each.name} {shown(each)}" for each in inputs) or "none"
        raise ModelError(
            f"{model.name}: takes {len(inputs)} inputs ({found}), where one picture is all that there is: export the "
            "model so that it takes the picture alone"
        )
    (value,) = inputs
    what = f"{model.name}: input {value.name} is {shown(value)}"
    tensor = value.type.tensor_type
    if tensor.elem_type not in _DTYPES or (tensor.HasField("shape") and len(tensor.shape.dim) != 4):
        raise ModelError(
            f"{what}, not a picture of float or uint8 [1, channels, height, width] or [1, height, width, channels]: "
            "export the model so that it takes one"
        )
    axes = [axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim] or [None] * 4
    # Some exporters write open axes as 0 or -1.
    batch, *rest = (None if axis is not None and axis < 1 else axis for axis in axes)
    if batch is not None and batch > 1:
        raise ModelError(f"{what}: {batch} pictures at once, where frames come one by one: export it for a batch of 1")
    found_layout = layout or _layout(what, rest)
    channels, height, width = rest if found_layout == "nchw" else (rest[2], rest[0], rest[1])
    if channels is not None and channels > MOST_CHANNELS:
        raise ModelError(
            f"{what}: {channels} channels, where up to {MOST_CHANNELS} can be made of a frame: convert a model of "
            "grey, RGB or RGBA pictures"
        )
    return ImageInput(value.name, tensor.elem_type, found_layout, channels, height, width)


def _layout(what: str, axes: list[int | None]) -> Layout:
    first, last = axes[0], axes[2]
    few = [each is not None and each <= MOST_CHANNELS for each in (first, last)]
    if few[0] != few[1]:
        return "nchw" if few[0] else "nhwc"
    if not any(few) and (first is not None or last is not None):
        known = [each for each in (first, last) if each is not None]
        raise ModelError(
            f"{what}: {min(known)} channels, where up to {MOST_CHANNELS} can be made of a frame: convert a model of "
            "grey, RGB or RGBA pictures"
        )
    raise UsageError(f"{what}, which does not say where the channels are: give --layout nchw or --layout nhwc")
