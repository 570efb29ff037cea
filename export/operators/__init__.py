"""The custom operators: one file each, with contract, standard-ONNX body, PyTorch form and translation."""

from arseg_edge.export.operators.creff import creff
from arseg_edge.export.operators.local_attention import local_attention
from arseg_edge.export.operators.motion_warp import motion_warp
from arseg_edge.export.operators.normalize_image import normalize_image
from arseg_edge.export.operators.segmentation_labels import segmentation_labels

__all__ = ["creff", "local_attention", "motion_warp", "normalize_image", "segmentation_labels"]
