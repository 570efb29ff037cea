"""The custom operators: one file each, with contract, standard-ONNX body, PyTorch form and translation."""

from arseg_edge.export.operators.local_attention import local_attention
from arseg_edge.export.operators.motion_warp import motion_warp

__all__ = ["local_attention", "motion_warp"]
