"""The names of the custom ONNX operators, shared by export, runtime and the native library.

Each operator is described in a file of its own in ``export/operators/``. Its native kernel is the file of the same base
name in ``runtime/native/kernels/``.
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
MOTION_WARP_UINT8: Final = "MotionWarpUint8"
CREFF_UINT8: Final = "CreffUint8"
NORMALIZE_IMAGE_UINT8: Final = "NormalizeImageUint8"

Sampling = Literal["published", "consistent"]
"""How ``MotionWarp`` turns a displacement in pixels into a sampling point; see ``export/operators/motion_warp.py``."""

Chaining = Literal["published", "subpixel"]
"""How vectors are chained to the keyframe; see ``runtime/motion``."""
