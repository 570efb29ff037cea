"""The runtime side: a bundle and a video to labels, without PyTorch.

The way of the data, folder by folder: ``source`` (frames and motion vectors) → ``motion`` (where each part of a frame
lies in other frames) → ``schedule`` (which frames a network sees) → ``inference`` (HR, or LR and CReFF) → ``labels``
(moved along to all other frames) → ``sinks``. ``reports`` stands apart.
"""

from arseg_edge.errors import ProviderError

try:
    import onnxruntime  # noqa: F401
except ImportError:
    raise ProviderError('onnxruntime is not installed: pip install "arseg-edge[cpu]", or [gpu] for CUDA') from None

from arseg_edge.runtime.read_motion import MotionFrame, read_motion
from arseg_edge.runtime.segmenter import Segmenter

__all__ = ["MotionFrame", "Segmenter", "read_motion"]
