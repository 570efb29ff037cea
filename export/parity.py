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
from arseg_edge.errors import OperatorError, ParityError
from arseg_edge.export.clips import Clip
from arseg_edge.export.families import Family
from arseg_edge.export.models import FusionNetwork, SegmentationNetwork
from arseg_edge.export.models.protocol import feature_of
from arseg_edge.export.models.resizing import lr_size, resize
from arseg_edge.export.operators.segmentation_labels import resize_logits
from arseg_edge.export.own_forward import FORWARD, forward_labels, normalised
from arseg_edge.golden import Expected, GoldenClip, samples_of
from arseg_edge.manifest import LowResolution, ParityFigure
from arseg_edge.onnx_bytes import with_outputs

TOLERANCE = 1e-3
"""For tensors: the largest difference relative to the largest magnitude. For labels: the share that differs."""
HALF_TOLERANCE = 4e-3
"""The same where weights are stored in half precision."""


def parity_tolerance(half_weights: bool) -> float:
    """Return what figures may be: ``TOLERANCE``, or ``HALF_TOLERANCE``."""
    return HALF_TOLERANCE if half_weights else TOLERANCE


@dataclass(frozen=True)
class Branch:
    """A network that was exported: the graph's bytes, and the weights that it was made from."""

    member: str
    model: bytes
    network: SegmentationNetwork | FusionNetwork


class Reference:
    """What the family's PyTorch networks compute for a frame, by their own methods, not by the graphs'."""

    def __init__(self, family: Family, hr: SegmentationNetwork) -> None:
        self._family = family
        self._hr = hr

    def _labels(self, logits: Tensor, frame: NDArray[np.uint8]) -> Tensor:
        size = (frame.shape[0], frame.shape[1])
        return resize_logits(logits, size, **self._family.label_rule).argmax(dim=1).to(torch.uint8)

    @torch.no_grad()
    def keyframe(self, frame: NDArray[np.uint8]) -> dict[str, Tensor]:
        """Return ``feature`` and ``labels`` [1, H, W] of a frame uint8 [H, W, 3]."""
        feature = feature_of(self._hr, normalised(self._family, frame))
        return {"feature": feature, "labels": self._labels(self._hr.final_conv(feature), frame)}

    @torch.no_grad()
    def nonkeyframe(
        self,
        network: FusionNetwork,
        scale: float,
        frame: NDArray[np.uint8],
        keyframe_feature: Tensor,
        motion: NDArray[np.float32],
    ) -> dict[str, Tensor]:
        """Return ``lr_feature``, ``logits`` (of the last layer) and ``labels``; ``motion`` is [H, W, 2]."""
        height, width = frame.shape[:2]
        image = resize(normalised(self._family, frame), lr_size(height, width, scale))
        lr_feature = feature_of(network, image)
        fusion = network.fuse_attention(lr_feature, keyframe_feature, torch.from_numpy(motion)[None])
        logits = network.final_conv(fusion.fused)
        return {"lr_feature": lr_feature, "logits": logits, "labels": self._labels(logits, frame)}


def compare(
    family: Family,
    keyframe: Branch,
    nonkeyframes: Mapping[LowResolution, Branch],
    clips: Sequence[Clip],
    half_weights: bool = False,
) -> list[ParityFigure]:
    """Return the figures of all clips.

    Raises:
        OperatorError: ONNX Runtime does not load or run a graph.
    """
    tolerance = parity_tolerance(half_weights)
    reference = Reference(family, keyframe.network)
    key_session = _session(keyframe, ())
    sessions = {low: _session(branch, ("lr_feature", "logits")) for low, branch in nonkeyframes.items()}
    figures: list[ParityFigure] = []
    for clip in clips:
        expected_key = reference.keyframe(clip.frames[0])
        found_key = _run(key_session, frame=clip.frames[:1])
        figures.extend(_figures(KEYFRAME, clip, expected_key, found_key, tolerance))
        own = forward_labels(family, keyframe.network, normalised(family, clip.frames[0]))
        if own is not None:
            figures.extend(_figures(KEYFRAME, clip, {FORWARD: own}, {FORWARD: found_key["labels"]}, tolerance))
        for low, branch in nonkeyframes.items():
            network = cast(FusionNetwork, branch.network)
            frame, motion = clip.frames[-1], clip.motion[-1]
            expected = reference.nonkeyframe(network, low.scale, frame, expected_key["feature"], motion)
            # Each graph gets what the runtime gives it: the feature that ONNX Runtime computed.
            found = _run(
                sessions[low],
                frame=frame[None],
                keyframe_feature=found_key["feature"],
                motion=motion[None],
            )
            figures.extend(_figures(low.member, clip, expected, found, tolerance))
    return figures


def _figures(
    member: str,
    clip: Clip,
    expected: Mapping[str, Tensor],
    found: Mapping[str, NDArray[Any]],
    tolerance: float,
) -> list[ParityFigure]:
    size = clip.frames.shape[1], clip.frames.shape[2]
    errors = {stage: _error(stage, tensor.numpy(), found[stage]) for stage, tensor in expected.items()}
    return [ParityFigure(member, stage, clip.name, size, error, tolerance) for stage, error in errors.items()]


def golden_clip(
    family: Family, keyframe: Branch, nonkeyframes: Mapping[LowResolution, Branch], clip: Clip
) -> GoldenClip:
    """Return ``clip`` with what PyTorch makes of it: the first frame a keyframe, the others not."""
    reference = Reference(family, keyframe.network)
    key = reference.keyframe(clip.frames[0])
    expected = {KEYFRAME: {0: _expected(key)}}
    for low, branch in nonkeyframes.items():
        network = cast(FusionNetwork, branch.network)
        runs = (
            reference.nonkeyframe(network, low.scale, frame, key["feature"], motion)
            for frame, motion in zip(clip.frames[1:], clip.motion[1:], strict=True)
        )
        expected[low.member] = {index: _expected(stages) for index, stages in enumerate(runs, start=1)}
    return GoldenClip(clip.frames, clip.motion, expected)


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


def _session(branch: Branch, inner: Sequence[str]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            with_outputs(branch.model, inner), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise OperatorError(_one_line(f"{branch.member}: ONNX Runtime does not load it", error)) from error


def _run(session: onnxruntime.InferenceSession, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, inputs), strict=True))
    except Exception as error:
        raise OperatorError(_one_line("ONNX Runtime does not run the exported graph", error)) from error


def _one_line(what: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:300]
    return f"{what} ({reason}): export for a fixed size, or use other operations in the network"


def _error(stage: str, expected: NDArray[Any], found: NDArray[Any]) -> float:
    if expected.shape != found.shape:
        return float("inf")
    if stage in ("labels", FORWARD):
        return float(np.mean(expected != found))
    difference = np.abs(expected - found).max() / max(float(np.abs(expected).max()), 1e-12)
    return float(difference)
