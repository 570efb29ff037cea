"""The runtime side: a bundle and a video to labels, without PyTorch.

The way of the data, file by file: ``source`` (frames and motion vectors) → ``motion`` (dense, chained to the
keyframe) → ``schedule`` (key or not) → ``sessions`` (HR, or LR and CReFF) → ``segmenter`` (labels) →
``sinks``.
"""

from arseg_edge.errors import ProviderError

try:
    import onnxruntime  # noqa: F401
except ImportError:
    raise ProviderError('onnxruntime is not installed: pip install "arseg-edge[cpu]", or [gpu] for CUDA') from None

from arseg_edge.runtime.read_motion import MotionFrame, read_motion
from arseg_edge.runtime.segmenter import Segmenter

__all__ = ["MotionFrame", "Segmenter", "read_motion"]
