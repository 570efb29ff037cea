"""Bilinear resizing, and the size of the low-resolution image."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
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


def lr_size(height: int, width: int, scale: float) -> Size:
    """Return the size of the low-resolution image for a frame of ``height`` × ``width`` pixels.

    As the published models were trained: ``int(height * scale)`` in double precision. That is not
    the product on paper: a height of 720 at 0.7 gives 503.

    >>> lr_size(720, 960, 0.7)
    (503, 672)
    """
    truncate = cast(Callable[[float], int], torch.sym_int)  # which takes symbols too
    return truncate(height * scale), truncate(width * scale)
