"""AR-Seg on the device: cheap semantic segmentation of compressed video, with ONNX Runtime.

>>> import arseg_edge
>>> with arseg_edge.load(interval=6) as segmenter:       # the demo model; or a bundle's path
...     for result in segmenter.stream("street.mp4"):
...         labels = result.labels                       # uint8 [H, W]
>>> result.index, result.is_keyframe, labels.shape
(95, False, (360, 480))
"""

from __future__ import annotations

import os
from collections.abc import Sequence
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
    from arseg_edge.runtime.inference.providers import ProviderLike
    from arseg_edge.runtime.motion.follow import MotionMode
    from arseg_edge.runtime.segmenter import LrResize, Segmenter

__version__ = "0.1.0"

__all__ = [
    "ArsegError",
    "BundleError",
    "CheckpointError",
    "CodecError",
    "DatasetError",
    "FrameError",
    "ModelError",
    "OperatorError",
    "OutputError",
    "ParityError",
    "ProviderError",
    "Result",
    "SequenceError",
    "SizeError",
    "SourceError",
    "Speed",
    "TrainingError",
    "UsageError",
    "load",
]


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    providers: ProviderLike | Sequence[ProviderLike] | None = None,
    threads: int | None = None,
    interval: int | None = None,
    scale: float | None = None,
    resize: bool = False,
    lr_resize: LrResize = "exact",
    motion: MotionMode = "auto",
) -> Segmenter:
    """Open a bundle and load its networks.

    Args:
        path: a bundle made by ``arseg-edge export``; None for the demo model (road scenes, CamVid's eleven classes).
        providers: ``"auto"`` (also None), ``"cpu"``, ``"cuda"``, or ONNX Runtime's name of any other that it
            offers, with options as ``(name, {option: value})``; of several, the first that loads.
        threads: of ONNX Runtime for one operator; None for the cores that this process may use.
        interval: the keyframe interval in frames; None for the bundle's own.
        scale: which LR branch, of a bundle with several; None for its first.
        resize: for a bundle of fixed size, resize frames of other sizes to it, and the labels back.
        lr_resize: ``"exact"`` makes the LR picture as in training; ``"fast"`` averages it straight from the
            decoder's picture.
        motion: ``"bitstream"`` takes the codec's vectors alone, ``"estimate"`` never; ``"auto"`` whichever is
            better for the frame.

    Raises:
        BundleError: the file is missing, broken or unsafe.
        OperatorError: ONNX Runtime does not take a graph.
        ProviderError: a provider that was named cannot be had, or onnxruntime is not installed.
        UsageError: an argument that makes no sense.
    """
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        raise ProviderError('onnxruntime is not installed: pip install "arseg-edge[cpu]", or [gpu] for CUDA') from None
    from arseg_edge.demo import demo_bundle
    from arseg_edge.runtime.load import load_segmenter

    return load_segmenter(
        demo_bundle() if path is None else path,
        providers=providers,
        threads=threads,
        interval=interval,
        scale=scale,
        resize=resize,
        lr_resize=lr_resize,
        motion=motion,
    )
