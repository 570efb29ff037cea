"""AR-Seg on the device: cheap semantic segmentation of compressed video, with ONNX Runtime.

>>> import arseg_edge
>>> with arseg_edge.load(interval=6) as segmenter:       # the demo model; or a bundle's path
...     for result in segmenter.stream("street.mp4"):
...         labels = result.labels                       # uint8 [H, W]
>>> result.index, result.is_keyframe, labels.shape
(95, False, (360, 480))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from arseg_edge.errors import (
    ArsegError,
    BundleError,
    CheckpointError,
    CodecError,
    DatasetError,
    FrameError,
    ModelError,
    OperatorError,
    OutputError,
    ParityError,
    ProviderError,
    SequenceError,
    SizeError,
    SourceError,
    TrainingError,
    UsageError,
)
from arseg_edge.results import Result, Speed

if TYPE_CHECKING:
    from arseg_edge.bundle import Bundle
    from arseg_edge.runtime.load import load
    from arseg_edge.runtime.schedule.keyframes import Guards
    from arseg_edge.runtime.segmenter import Segmenter

__version__ = "0.1.0"

__all__ = [
    "ArsegError",
    "Bundle",
    "BundleError",
    "CheckpointError",
    "CodecError",
    "DatasetError",
    "FrameError",
    "Guards",
    "ModelError",
    "OperatorError",
    "OutputError",
    "ParityError",
    "ProviderError",
    "Result",
    "Segmenter",
    "SequenceError",
    "SizeError",
    "SourceError",
    "Speed",
    "TrainingError",
    "UsageError",
    "load",
]

_MODULES = {
    "Bundle": "arseg_edge.bundle",
    "Guards": "arseg_edge.runtime.schedule.keyframes",
    "Segmenter": "arseg_edge.runtime.segmenter",
    "load": "arseg_edge.runtime.load",
}
"""Names that are imported when they are first asked for: ``import arseg_edge`` alone loads no ONNX Runtime."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
