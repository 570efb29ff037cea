"""The names of the custom ONNX operators, shared by export, runtime and the native library.

The operators themselves are described, one file each, in ``export/operators``; their native kernels
stand under the same base names in ``runtime/native``.
"""

from __future__ import annotations

from typing import Final, Literal

DOMAIN: Final = "arseg"
VERSION: Final = 1

MOTION_WARP: Final = "MotionWarp"
LOCAL_ATTENTION: Final = "LocalAttention"
CREFF: Final = "Creff"
NORMALIZE_IMAGE: Final = "NormalizeImage"
SEGMENTATION_LABELS: Final = "SegmentationLabels"

Sampling = Literal["published", "consistent"]
"""How ``MotionWarp`` turns a displacement in pixels into a sampling point; see ``export/operators/motion_warp.py``."""

Chaining = Literal["published", "subpixel"]
"""How vectors are chained to the keyframe; see ``runtime/motion``."""
