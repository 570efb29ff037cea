"""The machine that training runs on."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Literal

import torch

from arseg_edge.errors import ProviderError
from arseg_edge.training.loop import Precision


def find_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Return the device of that name; ``auto`` is CUDA where there is such a device, the CPU where not.

    Raises:
        ProviderError: CUDA that cannot be had.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ProviderError("--device cuda: this PyTorch finds no CUDA device: use --device cpu")
    return torch.device(name)


def find_precision(name: Literal["auto", "float32", "bfloat16"], device: torch.device) -> Precision:
    """Return the precision of that name; ``auto`` is mixed precision on CUDA, single precision on the CPU."""
    if name == "auto":
        return "bfloat16" if device.type == "cuda" else "float32"
    return name


@contextlib.contextmanager
def reproducible(device: torch.device, threads: int | None) -> Iterator[None]:
    """Make the same seed give the same numbers on this machine, with ``threads`` threads on the CPU.

    On the CPU PyTorch is reproducible by itself; on CUDA it is told to choose algorithms that are.
    """
    threads_before, strict_before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        if device.type != "cuda":
            yield
            return
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # The sum of the cross entropy has no such algorithm; only the curves' last digits depend on it, no gradient.
        torch.use_deterministic_algorithms(True, warn_only=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic")
            yield
    finally:
        torch.use_deterministic_algorithms(strict_before)
        torch.set_num_threads(threads_before)
