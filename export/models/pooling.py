"""Adaptive average pooling in operators that export for every size, fixed or dynamic."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def averaging_matrix(bins: int, length: int, like: Tensor) -> Tensor:
    """Return [bins, length], each row the weights of one bin, in the dtype and on the device of ``like``.

    Bin i averages the positions from floor(i·length / bins) up to, not including,
    ceil((i + 1)·length / bins), as PyTorch's ``adaptive_avg_pool2d`` does; neighbouring bins may overlap.
    """
    position = torch.arange(length, device=like.device)
    index = torch.arange(bins, device=like.device)[:, None]
    # floor(a / n) <= p  is  a < (p + 1)·n,  and  p < ceil(b / n)  is  p·n < b:  no division of symbols.
    inside = (index * length < (position + 1) * bins) & (position * bins < (index + 1) * length)
    weights = inside.to(like.dtype)
    return weights / weights.sum(dim=1, keepdim=True)


def adaptive_average_pool(x: Tensor, bins: int) -> Tensor:
    """Average float32 [N, C, h, w] to [N, C, bins, bins], for any h and w of 1 or more.

    >>> adaptive_average_pool(torch.arange(6.0).reshape(1, 1, 2, 3), 2).tolist()
    [[[[0.5, 1.5], [3.5, 4.5]]]]
    """
    # Of x's own rank: otherwise matmul folds axes together, and torch.export guards on how they divide.
    rows, columns = (averaging_matrix(bins, length, x)[None, None] for length in x.shape[-2:])
    return rows @ (x @ columns.mT)


class AdaptiveAveragePool(nn.Module):
    """``adaptive_average_pool`` as a layer."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C, bins, bins]."""
        return adaptive_average_pool(x, self.bins)
