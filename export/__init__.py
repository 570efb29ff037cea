"""The export side: trained weights, or a finished ONNX model, to one bundle.

Names are imported when they are first asked for: ``convert_onnx`` and ``quantize_bundle``
need onnx alone, all others torch and onnxscript.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arseg_edge.export.convert.convert_onnx import convert_onnx
    from arseg_edge.export.exporter import export_bundle
    from arseg_edge.export.families import Family, register_family
    from arseg_edge.export.own_module import family_from_module
    from arseg_edge.export.quantize.quantize_bundle import quantize_bundle
    from arseg_edge.export.upgrade import upgrade_bundle
    from arseg_edge.palette import ClassSet

__all__ = [
    "ClassSet",
    "Family",
    "convert_onnx",
    "export_bundle",
    "family_from_module",
    "quantize_bundle",
    "register_family",
    "upgrade_bundle",
]

_MODULES = {
    "ClassSet": "arseg_edge.palette",
    "Family": "arseg_edge.export.families",
    "convert_onnx": "arseg_edge.export.convert.convert_onnx",
    "export_bundle": "arseg_edge.export.exporter",
    "family_from_module": "arseg_edge.export.own_module",
    "quantize_bundle": "arseg_edge.export.quantize.quantize_bundle",
    "register_family": "arseg_edge.export.families",
    "upgrade_bundle": "arseg_edge.export.upgrade",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
