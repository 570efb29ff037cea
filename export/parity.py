"""PyTorch against ONNX Runtime: every export runs its own graphs before it becomes a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from arseg_edge.bundle import KEYFRAME
from arseg_edge.errors import OperatorError, ParityError, reason_of
from arseg_edge.export.clips import ParityClip, other_size
from arseg_edge.export.families import Family
from arseg_edge.export.models import FusionNetwork, SegmentationNetwork
from arseg_edge.export.models.protocol import feature_of
from arseg_edge.export.models.resizing import resize
from arseg_edge.export.operators.segmentation_labels import CONFIDENCE_SIZE, resize_logits
from arseg_edge.export.own_forward import forward_labels, normalised
from arseg_edge.golden import FORWARD, Expected, GoldenClip, samples_of
from arseg_edge.lr_size import lr_size
from arseg_edge.manifest import LowResolution, ParityFigure

TOLERANCE = 1e-3
"""For tensors: the largest difference relative to the largest magnitude. For labels: the share that differs."""
HALF_TOLERANCE = 4e-3
"""The same where weights are stored in half precision."""


def parity_tolerance(half_weights: bool) -> float:
    """Return what figures may be: ``TOLERANCE``, or ``HALF_TOLERANCE``."""
    return HALF_TOLERANCE if half_weights else TOLERANCE


@dataclass(frozen=True)
class ExportedNetwork:
    """A network that was exported: the graph's bytes, and the weights that it was made from."""

    member: str
    model: bytes
    network: SegmentationNetwork | FusionNetwork
    head: bytes = b""
    """Of an LR branch, the graph of its last layer alone."""


class Reference:
    """What the family's PyTorch networks compute for a frame, by their own methods, not by the graphs'."""

    def __init__(self, family: Family, hr: SegmentationNetwork) -> None:
        self._family = family
        self._hr = hr

    def _labels(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return resize_logits(logits, size, **self._family.label_rule).argmax(dim=1).to(torch.uint8)

    @torch.no_grad()
    def keyframe(self, frame: NDArray[np.uint8], labels_size: tuple[int, int]) -> dict[str, Tensor]:
        """Return ``feature`` and ``labels`` [1, *labels_size] of a frame uint8 [H, W, 3]."""
        feature = feature_of(self._hr, normalised(self._family, frame))
        return {"feature": feature, "labels": self._labels(self._hr.final_conv(feature), labels_size)}

    @torch.no_grad()
    def nonkeyframe(
        self,
        network: FusionNetwork,
        scale: float,
        frame: NDArray[np.uint8],
        keyframe_feature: Tensor,
        motion: NDArray[np.float32],
        labels_size: tuple[int, int],
    ) -> dict[str, Tensor]:
        """Return ``lr_feature``, ``logits`` (of the last layer) and ``labels``; ``motion`` is [a, b, 2]."""
        height, width = frame.shape[:2]
        image = resize(normalised(self._family, frame), lr_size(height, width, scale))
        lr_feature = feature_of(network, image)
        fusion = network.fuse_attention(lr_feature, keyframe_feature, torch.from_numpy(motion)[None])
        logits = network.final_conv(fusion.fused)
        return {"lr_feature": lr_feature, "logits": logits, "labels": self._labels(logits, labels_size)}

    @torch.no_grad()
    def head(self, network: FusionNetwork, lr_feature: Tensor, labels_size: tuple[int, int]) -> dict[str, Tensor]:
        """Return the ``labels`` that the last layer makes of the LR feature alone."""
        return {"labels": self._labels(network.final_conv(lr_feature), labels_size)}


def compare(
    family: Family,
    keyframe: ExportedNetwork,
    nonkeyframes: Mapping[LowResolution, ExportedNetwork],
    clips: Sequence[ParityClip],
    half_weights: bool = False,
) -> list[ParityFigure]:
    """Return the figures of all clips.

    Raises:
        OperatorError: ONNX Runtime does not load or run a graph.
    """
    tolerance = parity_tolerance(half_weights)
    reference = Reference(family, keyframe.network)
    key_session = session_of(keyframe.member, keyframe.model)
    sessions = {low: session_of(low.member, branch.model) for low, branch in nonkeyframes.items()}
    heads = {low: session_of(low.head, branch.head) for low, branch in nonkeyframes.items()}
    figures: list[ParityFigure] = []
    for clip in clips:
        frame_size = clip.frames.shape[1], clip.frames.shape[2]
        labels_size = clip.labels_size or frame_size
        expected_key = reference.keyframe(clip.frames[0], labels_size)
        found_key = run_graph(key_session, frame=clip.frames[:1], labels_size=np.array(labels_size, np.int64))
        figures.extend(_figures(KEYFRAME, clip, expected_key, found_key, tolerance))
        own = forward_labels(family, keyframe.network, normalised(family, clip.frames[0]))
        if own is not None and labels_size == frame_size:
            figures.extend(_figures(KEYFRAME, clip, {FORWARD: own}, {FORWARD: found_key["labels"]}, tolerance))
        for low, branch in nonkeyframes.items():
            network = cast(FusionNetwork, branch.network)
            frame, motion = clip.frames[-1], clip.motion[-1]
            expected = reference.nonkeyframe(network, low.scale, frame, expected_key["feature"], motion, labels_size)
            # Each graph gets what the runtime gives it: the feature that ONNX Runtime computed.
            found = run_graph(
                sessions[low],
                frame=frame[None],
                keyframe_feature=found_key["feature"],
                motion=motion[None],
                frame_size=np.array(frame_size, np.int64),
                labels_size=np.array(labels_size, np.int64),
            )
            figures.extend(_figures(low.member, clip, expected, found, tolerance))
            expected_alone = reference.head(network, expected["lr_feature"], labels_size)
            found_alone = run_graph(
                heads[low], lr_feature=found["lr_feature"], labels_size=np.array(labels_size, np.int64)
            )
            figures.extend(_figures(low.head, clip, expected_alone, found_alone, tolerance))
    return figures


def _figures(
    member: str,
    clip: ParityClip,
    expected: Mapping[str, Tensor],
    found: Mapping[str, NDArray[Any]],
    tolerance: float,
) -> list[ParityFigure]:
    size = clip.frames.shape[1], clip.frames.shape[2]
    errors = {stage: error_of(stage, tensor.numpy(), found[stage]) for stage, tensor in expected.items()}
    return [ParityFigure(member, stage, clip.name, size, error, tolerance) for stage, error in errors.items()]


def golden_clip(
    family: Family, keyframe: ExportedNetwork, nonkeyframes: Mapping[LowResolution, ExportedNetwork], clip: ParityClip
) -> GoldenClip:
    """Return ``clip`` with what PyTorch makes of it.

    The first frame is the keyframe of those after it. HR runs on the last too, and all that is expected of the last
    has labels of another size.
    """
    reference = Reference(family, keyframe.network)
    last = len(clip.frames) - 1
    sizes = labels_sizes(clip.frames)
    key = reference.keyframe(clip.frames[0], sizes[0])
    expected = {
        KEYFRAME: {0: _expected(key), last: _expected(reference.keyframe(clip.frames[last], sizes[last]))},
    }
    for low, branch in nonkeyframes.items():
        network = cast(FusionNetwork, branch.network)
        runs = {
            index: reference.nonkeyframe(
                network, low.scale, clip.frames[index], key["feature"], clip.motion[index], sizes[index]
            )
            for index in range(1, last + 1)
        }
        expected[low.member] = {index: _expected(stages) for index, stages in runs.items()}
        expected[low.head] = {
            index: _expected(reference.head(network, stages["lr_feature"], sizes[index]))
            for index, stages in runs.items()
        }
    return GoldenClip(clip.frames, clip.motion, expected)


def labels_sizes(frames: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Return the size of the labels that a golden clip expects for each of its frames: another for the last."""
    count, height, width = frames.shape[:3]
    return [*[(height, width)] * (count - 1), other_size(height, width)]


def refuse_beyond_tolerance(figures: Sequence[ParityFigure]) -> None:
    """Raise ParityError naming the worst figure, if any is beyond its tolerance (or not a number)."""
    bad = [figure for figure in figures if not figure.error <= figure.tolerance]
    if bad:
        worst = max(bad, key=lambda figure: figure.error if figure.error == figure.error else np.inf)
        raise ParityError(
            f"{worst.member}: {worst.stage} differs from PyTorch by {worst.error:.2e} (tolerance "
            f"{worst.tolerance:.0e}) on {worst.input} input at {worst.size[0]}x{worst.size[1]}, as do "
            f"{len(bad) - 1} other figures: no bundle was written; export for a fixed size, if some operation of the "
            "network keeps the size that it was exported with"
        )


def _expected(stages: Mapping[str, Tensor]) -> Expected:
    arrays = {stage: tensor.numpy() for stage, tensor in stages.items()}
    labels = arrays.pop("labels")[0]
    return Expected(labels, {stage: samples_of(array) for stage, array in arrays.items()})


def session_of(member: str, model: bytes) -> onnxruntime.InferenceSession:
    """Return a session on the CPU without the native library.

    Raises:
        OperatorError: ONNX Runtime does not load the graph.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise OperatorError(_one_line(f"{member}: ONNX Runtime does not load it", error)) from error


def run_graph(session: onnxruntime.InferenceSession, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return all outputs by name; of the confidence, where it is not asked for, nothing.

    Raises:
        OperatorError: ONNX Runtime does not run the graph.
    """
    if any(each.name == CONFIDENCE_SIZE for each in session.get_inputs()):
        inputs.setdefault(CONFIDENCE_SIZE, np.zeros(2, np.int64))
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, inputs), strict=True))
    except Exception as error:
        raise OperatorError(_one_line("ONNX Runtime does not run the exported graph", error)) from error


def _one_line(what: str, error: Exception) -> str:
    reason = reason_of(error)
    return f"{what} ({reason}): export for a fixed size, or use other operations in the network"


def error_of(stage: str, expected: NDArray[Any], found: NDArray[Any]) -> float:
    """Return how far a stage is off, as ``ParityFigure`` has it."""
    if expected.shape != found.shape:
        return float("inf")
    if stage in ("labels", FORWARD):
        return float(np.mean(expected != found))
    difference = np.abs(expected - found).max() / max(float(np.abs(expected).max()), 1e-12)
    return float(difference)
