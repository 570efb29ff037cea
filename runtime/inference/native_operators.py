"""The native library as sessions use it: whether ONNX Runtime takes it, and which providers it helps."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import onnxruntime

from arseg_edge.errors import reason_of
from arseg_edge.runtime.inference.providers import Provider
from arseg_edge.runtime.native import NativeState, library_path, state, warn_once


def native_operators(provider: Provider) -> Path | None:
    """Return the library to register with a session on ``provider``; None where the function bodies serve.

    They serve on devices with memory of their own, and where there is no library, or none that is fit for use: of that
    a :class:`~arseg_edge.runtime.native.NativeLibraryWarning` tells once.
    """
    path = library_path() if provider.takes_native else None
    if path is None:
        return None
    found = operators_state()
    if not found.enabled:
        warn_once(path, found.reason)
        return None
    return path


def operators_state() -> NativeState:
    """Return what there is of the native library, for reports; also whether this ONNX Runtime takes it."""
    found = state()
    reason = _refusal(found.path) if found.enabled and found.path is not None else ""
    return dataclasses.replace(found, enabled=False, reason=reason, simd=None) if reason else found


@cache
def _refusal(path: Path) -> str:
    """Return why this ONNX Runtime does not take the library; empty where it does."""
    try:
        onnxruntime.SessionOptions().register_custom_ops_library(str(path))
    except Exception as error:  # onnxruntime's own classes are not part of its interface
        reason = reason_of(error)
        return f"is refused by ONNX Runtime {onnxruntime.__version__} ({reason}): update onnxruntime"
    return ""
