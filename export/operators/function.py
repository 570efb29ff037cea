"""How a custom operator gets into a model: as one node, with its body as a model-local function.

ONNX Runtime prefers a registered kernel of the same name and otherwise inlines the body, so one file runs
everywhere and is fast where the native library is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import onnx
import onnx.parser

from arseg_edge.operators import DOMAIN, VERSION

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OPSET = 18
"""The version of the standard operators in graphs and bodies: what PyTorch's exporter writes natively."""


def emit(
    name: str,
    inputs: Sequence[Tensor],
    attributes: Mapping[str, object],
    *,
    shape: Sequence[int | torch.SymInt],
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return a tensor of ``shape`` that stands for the operator's result while a model is exported.

    ``dtype`` is float32 where it is left out.
    """
    import torch

    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::{name}",
        inputs,
        attributes,  # type: ignore[arg-type]  # its annotation wants the invariant Sequence of one type
        dtype=dtype or torch.float32,
        shape=shape,
        version=VERSION,
    )


def parse_body(text: str, opset: int = OPSET) -> onnx.FunctionProto:
    """Return the function that ``text`` (ONNX's textual syntax, without header) describes."""
    header = f'<domain: "{DOMAIN}", opset_import: ["": {opset}, "{DOMAIN}": {VERSION}]>'
    return onnx.parser.parse_function(header + text)
