"""The export side: trained HR, LR and CReFF weights to one bundle (needs torch, onnx and onnxscript)."""

from arseg_edge.export.exporter import export_bundle
from arseg_edge.export.families import Family, register_family
from arseg_edge.export.upgrade import upgrade_bundle
from arseg_edge.palette import ClassSet

__all__ = ["ClassSet", "Family", "export_bundle", "register_family", "upgrade_bundle"]
