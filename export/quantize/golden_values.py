"""What ``arseg-edge verify`` expects of a quantised bundle: its graphs as the ONNX standard defines them.

They are run without any optimisation, layer by layer in float between DequantizeLinear and QuantizeLinear: so no
device's integer kernels have a part in what is expected. What these make of the same graphs may differ by a
byte here and there, which later layers carry on; the tolerance is for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from arseg_edge.bundle import KEYFRAME
from arseg_edge.errors import OperatorError, ParityError, reason_of
from arseg_edge.golden import Expected, GoldenClip, samples_of
from arseg_edge.manifest import LowResolution, ParityFigure
from arseg_edge.runtime.inference.sessions import feeds_of

TOLERANCE: Final = 0.03
"""Of values, relative to the largest. A byte is 1/255, and what follows may differ by several; where sums saturate,
it is more."""
LABEL_TOLERANCE: Final = 0.01
"""The share of the pixels that may have another label: on the golden clip, which is no natural picture."""

Arrays = Mapping[str, NDArray[Any]]


def golden_values(
    models: Mapping[str, bytes], scales: tuple[LowResolution, ...], clip: GoldenClip
) -> tuple[GoldenClip, list[ParityFigure]]:
    """Return ``clip`` with what ``models`` give by the standard, and how far ONNX Runtime's integers are from that.

    Of each graph the same runs and stages are expected as in ``clip``.

    Raises:
        OperatorError: ONNX Runtime does not run a graph.
        ParityError: the integers are beyond the tolerance; such a bundle would be worth nothing.
    """
    wanted = _run(models, scales, clip, optimised=False)
    found = _run(models, scales, clip, optimised=True)
    expected: dict[str, dict[int, Expected]] = {}
    figures = []
    for (member, index), arrays in wanted.items():
        stages = clip.expected[member][index].stages
        now = Expected(arrays["labels"][0], {stage: samples_of(arrays[stage]) for stage in stages})
        expected.setdefault(member, {})[index] = now
        errors = {stage: samples.error(found[member, index][stage]) for stage, samples in now.stages.items()}
        errors["labels"] = float(np.mean(found[member, index]["labels"][0] != now.labels))
        size = clip.frames.shape[1], clip.frames.shape[2]
        for stage, error in errors.items():
            tolerance = LABEL_TOLERANCE if stage == "labels" else TOLERANCE
            if not error <= tolerance:
                raise ParityError(
                    f"{member}: {stage} in integers is off by {error:.3g} (tolerance {tolerance:g}) from what the "
                    f"quantised graph says: nothing was written; update onnxruntime ({onnxruntime.__version__})"
                )
            figures.append(ParityFigure(member, stage, "golden", size, error, tolerance))
    return GoldenClip(clip.frames, clip.motion, expected), figures


def _run(
    models: Mapping[str, bytes], scales: tuple[LowResolution, ...], clip: GoldenClip, *, optimised: bool
) -> dict[tuple[str, int], Arrays]:
    """Return all outputs by member and frame; LR on the keyframe's feature, heads on what LR gave."""
    branches = {low.head: low.member for low in scales}
    frame_size = clip.frames.shape[1:3]
    found: dict[tuple[str, int], Arrays] = {}
    feature: NDArray[Any] | None = None
    for member in sorted(clip.expected, key=lambda each: (each != KEYFRAME, each in branches)):
        session = _session(member, models[member], optimised=optimised)
        for index, expected in clip.expected[member].items():
            inputs: dict[str, NDArray[Any]] = {
                "frame": clip.frames[index : index + 1],
                "motion": clip.motion[index : index + 1],
                "frame_size": np.array(frame_size, np.int64),
                "labels_size": np.array(expected.labels.shape, np.int64),
            }
            if feature is not None:
                inputs["keyframe_feature"] = feature
            if member in branches:
                inputs["lr_feature"] = found[branches[member], index]["lr_feature"]
            found[member, index] = _outputs(session, member, inputs)
            if member == KEYFRAME and index == 0:
                feature = found[member, index].get("feature")
    return found


def _session(member: str, model: bytes, *, optimised: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise OperatorError(f"{member}: ONNX Runtime does not load what was quantised ({reason_of(error)})") from error


def _outputs(session: onnxruntime.InferenceSession, member: str, inputs: Arrays) -> Arrays:
    names = [each.name for each in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, feeds_of(session, inputs)), strict=True))
    except Exception as error:
        raise OperatorError(f"{member}: ONNX Runtime does not run what was quantised ({reason_of(error)})") from error
