"""The export side: trained HR, LR and CReFF weights to one bundle (needs torch, onnx and onnxscript)."""

from arseg_edge.export.exporter import export_bundle
from arseg_edge.export.families import Family, register_family

__all__ = ["Family", "export_bundle", "register_family"]
