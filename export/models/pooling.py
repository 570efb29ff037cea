"""Adaptive average pooling in operators that export for every size, fixed or dynamic.

PyTorch's own exports for a fixed size, and to one bin for every size; otherwise what comes out has the example's size
written into it. ``exportable_pooling`` puts this one in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from arseg_edge.errors import OperatorError

Bins = int | Sequence[int | None]
"""Rows and columns of bins; one number stands for both, and None keeps an axis as it is."""


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


def adaptive_average_pool(x: Tensor, bins: Bins) -> Tensor:
    """Average float32 [N, C, h, w] to [N, C, *bins], for any h and w of 1 or more.

    >>> adaptive_average_pool(torch.arange(6.0).reshape(1, 1, 2, 3), 2).tolist()
    [[[[0.5, 1.5], [3.5, 4.5]]]]
    """
    rows, columns = _pair(bins)
    # Of x's own rank: otherwise matmul folds axes together, and torch.export guards on how they divide.
    if columns is not None:
        x = x @ averaging_matrix(columns, x.shape[-1], x)[None, None].mT
    return x if rows is None else averaging_matrix(rows, x.shape[-2], x)[None, None] @ x


def _pair(bins: Bins) -> tuple[int | None, int | None]:
    if isinstance(bins, int):
        return bins, bins
    rows, columns = bins if len(bins) == 2 else (bins[0], bins[0])
    return rows, columns


class AdaptiveAveragePool(nn.Module):
    """``adaptive_average_pool`` as a layer."""

    def __init__(self, bins: Bins) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, C, *bins]."""
        return adaptive_average_pool(x, self.bins)


class ExportablePooling(TorchFunctionMode):
    """In this context PyTorch's adaptive average pooling, layer or function, is ``adaptive_average_pool``.

    Only where a model is exported for any size, and to more than one bin: all else exports as it is. Adaptive maximum
    pooling has no such form and raises ``OperatorError``, with the names of such layers in ``module``.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = module

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in _AVERAGE or func in _MAXIMUM:
            x, bins = _arguments(*args, **given)
            if _pair(bins) != (1, 1) and any(isinstance(length, torch.SymInt) for length in x.shape[-2:]):
                if func in _AVERAGE:
                    return adaptive_average_pool(x, bins)
                layers = [name for name, each in self._module.named_modules() if isinstance(each, nn.AdaptiveMaxPool2d)]
                where = f" ({', '.join(layer.removeprefix('network.') for layer in layers)})" if layers else ""
                raise OperatorError(
                    f"adaptive maximum pooling to {bins}{where} has no form that exports for any size: export for a "
                    "fixed size, pool to one bin, or take averages (nn.AdaptiveAvgPool2d)"
                )
        return func(*args, **given)


_AVERAGE = (F.adaptive_avg_pool2d, torch._C._nn.adaptive_avg_pool2d)
_MAXIMUM = (F.adaptive_max_pool2d, F.adaptive_max_pool2d_with_indices, torch._C._nn.adaptive_max_pool2d)


def _arguments(input: Tensor, output_size: Bins, return_indices: bool = False) -> tuple[Tensor, Bins]:
    return input, output_size
