"""Bilinear resizing."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]
"""Height and width; while a model is exported with dynamic size, symbols for them."""


def resize(x: Tensor, size: Size) -> Tensor:
    """Resize float32 [N, C, h, w] to [N, C, *size], bilinear with corners aligned and no antialiasing."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def enlarge(x: Tensor, factor: int, mode: str = "bilinear") -> Tensor:
    """Enlarge float32 [N, C, h, w] by a whole factor; bilinear with corners not aligned, or ``nearest``."""
    h, w = x.shape[-2:]
    # A size rather than a scale factor: its symbols stay whole numbers.
    return F.interpolate(x, size=(factor * h, factor * w), mode=mode)
