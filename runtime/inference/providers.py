"""Execution providers: from what a caller names to what ONNX Runtime loads, and whether it really did."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import onnxruntime

from arseg_edge.errors import ProviderError, UsageError

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"

_SHORT_NAMES = {"cpu": CPU, "cuda": CUDA}

ProviderLike = str | tuple[str, Mapping[str, Any]]
"""``auto``, ``cpu``, ``cuda``, or ONNX Runtime's own name; with options as (name, {option: value})."""


class ProviderFallbackWarning(UserWarning):
    """``auto`` found an accelerator in this ONNX Runtime that does not work, and took the CPU."""


@dataclass(frozen=True)
class Provider:
    """One execution provider with its options; whatever it does not take runs on the CPU."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """Where the keyframe's feature stays: ONNX Runtime's name of the memory."""
        return "cuda" if self.name == CUDA else "cpu"

    def with_cpu(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what a session is created with."""
        named = [(self.name, dict(self.options))]
        return named if self.name == CPU else [*named, (CPU, {})]


def candidates(wanted: ProviderLike | Sequence[ProviderLike] | None) -> tuple[list[Provider], bool]:
    """Return the providers to try in turn, and whether the last may stand in for the others silently.

    None and ``auto`` mean CUDA where this ONNX Runtime has it, else the CPU.

    Raises:
        ProviderError: this ONNX Runtime does not have the one that was named, or none of several.
        UsageError: something that names no provider.
    """
    if wanted is None or wanted == "auto":
        have = onnxruntime.get_available_providers()
        return [Provider(name) for name in (CUDA, CPU) if name in have], True
    single = isinstance(wanted, str) or (
        isinstance(wanted, tuple) and len(wanted) == 2 and isinstance(wanted[1], Mapping)
    )
    listed: Sequence[Any] = [wanted] if single or not isinstance(wanted, Sequence) else wanted
    if not listed:
        raise ProviderError("no execution provider named: name one, such as cpu, or auto")
    # Of several, those are passed over that ONNX Runtime knows but this build lacks; a name that nobody
    # knows is a mistake all the same.
    lacking = set(onnxruntime.get_all_providers()) - set(onnxruntime.get_available_providers())
    passed_over = [each for each in listed if isinstance(each, str) and _full_name(each) in lacking]
    if len(passed_over) < len(listed):
        listed = [each for each in listed if each not in passed_over]
    return [_resolve(each) for each in listed], False


def _full_name(name: str) -> str:
    return _SHORT_NAMES.get(name.lower(), name)


def _resolve(wanted: ProviderLike) -> Provider:
    match wanted:
        case str(name):
            options: Mapping[str, Any] = {}
        case (str(name), Mapping() as options):
            pass
        case _:
            raise UsageError(f"provider {wanted!r}: give a name such as cpu, or (name, {{option: value}})")
    full = _full_name(name)
    have = onnxruntime.get_available_providers()
    if full not in have:
        remedy = ' (CUDA needs: pip install "arseg-edge[gpu]")' if full == CUDA else ""
        raise ProviderError(
            f"execution provider {name!r} is not in this onnxruntime, which has {', '.join(have)}: "
            f"choose one of these{remedy}"
        )
    return Provider(full, dict(options))


def check_loaded(provider: Provider, session: onnxruntime.InferenceSession) -> None:
    """Raise ProviderError if the session goes without the provider: ONNX Runtime falls back by itself."""
    loaded = session.get_providers()
    if provider.name not in loaded:
        raise ProviderError(
            f"execution provider {provider.name} does not load here (running: {', '.join(loaded)}): "
            "check its driver and libraries, see `arseg-edge doctor`, or use --provider cpu"
        )


def warn_of_fallback(failed: Provider, reason: Exception) -> None:
    """Tell that ``auto`` goes on without ``failed``."""
    warnings.warn(
        f"{failed.name} cannot be used, running on the CPU instead: {' '.join(str(reason).split())[:300]}",
        ProviderFallbackWarning,
        stacklevel=4,
    )
