"""Replaying a bundle's golden clip on this device, and saying what is off: member, operator or provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from arseg_edge.bundle import KEYFRAME, Bundle
from arseg_edge.errors import BundleError, OperatorError, reason_of
from arseg_edge.golden import Expected, GoldenClip, golden_of, tolerances
from arseg_edge.runtime.inference.native_operators import native_operators
from arseg_edge.runtime.inference.providers import CPU, Provider, ProviderLike, first_that_loads
from arseg_edge.runtime.inference.sessions import feeds_of, open_session

# The stage that an operator ends; a stage that is off where those before it are right names its operator.
_SUSPECTS = {
    "feature": "the keyframe network or NormalizeImage",
    "lr_feature": "the LR network or NormalizeImage",
    "logits": "Creff (MotionWarp, LocalAttention)",
    "labels": "SegmentationLabels",
}


@dataclass(frozen=True)
class Finding:
    """How one stage of one member compares with what PyTorch, or the model that was converted, had for it.

    ``error`` is relative to the largest magnitude, for labels the share of pixels that differ; ``tolerance`` is what
    was allowed this stage at export.
    """

    member: str
    frame: int
    stage: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance; NaN is not."""
        return self.error <= self.tolerance


@dataclass(frozen=True)
class Verification:
    """All findings on one provider, and, where one is off, what is to blame."""

    provider: str
    native: bool
    findings: tuple[Finding, ...]
    blame: str | None

    @property
    def passed(self) -> bool:
        """Whether every finding is within its tolerance; where nothing was found, nothing has passed."""
        return bool(self.findings) and all(finding.passed for finding in self.findings)


def verify(
    bundle: Bundle, *, providers: ProviderLike | Sequence[ProviderLike] | None = None, threads: int = 1
) -> Verification:
    """Check every member and replay the golden clip: of a bundle of format 1 HR's feature, and all labels.

    Raises:
        BundleError: a member is damaged, or the golden clip leaves a graph unverified.
        OperatorError: ONNX Runtime does not take or does not run a graph.
        ProviderError: the provider cannot be had.
    """
    golden = golden_of(bundle)
    if bundle.manifest.format_version == 1:
        golden = _of_outputs(golden)
    models = {name: bundle.read(name) for name in bundle.manifest.members if name.endswith(".onnx")}
    heads = {low.head: low.member for low in bundle.manifest.scales if low.head in models}
    checked = _Checked(models, heads, golden, tolerances(bundle.manifest))

    def replay(provider: Provider) -> tuple[Path | None, tuple[Finding, ...]]:
        library = native_operators(provider)
        return library, _replay(checked, provider, threads, library)

    provider, (library, findings) = first_that_loads(providers, replay)
    blame = None
    first_bad = next((finding for finding in findings if not finding.passed), None)
    if first_bad is not None:
        plain = provider.name == CPU and library is None
        reference = () if plain else _replay(checked, Provider(CPU), threads, None)
        bodies: Sequence[Finding] = ()
        if library is not None and provider.name != CPU:
            bodies = _replay(checked, provider, threads, None)
        blame = _blame(first_bad, provider, library is not None, reference, bodies)
    return Verification(provider.name, library is not None, findings, blame)


def _blame(
    bad: Finding, provider: Provider, native: bool, reference: Sequence[Finding], bodies: Sequence[Finding]
) -> str:
    """Return what is off, knowing whether standard operators get the same stage right: on the CPU, on the provider."""
    stage = f"{bad.stage} in {bad.member}"

    def right_in(findings: Sequence[Finding]) -> bool:
        return any(
            finding.passed
            for finding in findings
            if (finding.member, finding.frame, finding.stage) == (bad.member, bad.frame, bad.stage)
        )

    if not right_in(reference):
        return f"{stage}: {bad.member} itself, or this onnxruntime ({onnxruntime.__version__}); export it again"
    if native and (provider.name == CPU or right_in(bodies)):
        return (
            f"{stage}: {_SUSPECTS.get(bad.stage, bad.stage)} of the native library; ARSEG_EDGE_NATIVE=0 goes without it"
        )
    return f"{stage}: provider {provider.name}; the CPU gets it right, use --provider cpu"


@dataclass(frozen=True)
class _Checked:
    """What is replayed: the graphs by member, the LR branch of each head, what is expected, and the tolerances."""

    models: Mapping[str, bytes]
    heads: Mapping[str, str]
    golden: GoldenClip
    allowed: Mapping[tuple[str, str], float]


def _of_outputs(golden: GoldenClip) -> GoldenClip:
    """Expect nothing of what the graphs of format 1 keep inside; a logit that is off shows in the labels."""
    expected = {
        member: {
            index: Expected(each.labels, each.stages if member == KEYFRAME else {}) for index, each in runs.items()
        }
        for member, runs in golden.expected.items()
    }
    return GoldenClip(golden.frames, golden.motion, expected)


def _replay(checked: _Checked, provider: Provider, threads: int, library: object | None) -> tuple[Finding, ...]:
    """Run every member on the frames that it has expectations for; LR branches on this device's own feature."""

    def run(member: str, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        session = sessions.get(member)
        if session is None:
            session = sessions[member] = open_session(models[member], provider, threads, member, library)
        names = [output.name for output in session.get_outputs()]
        try:
            return dict(zip(names, session.run(names, feeds_of(session, inputs)), strict=True))
        except Exception as error:
            reason = reason_of(error)
            raise OperatorError(f"{member}: ONNX Runtime failed on {provider.name} ({reason}): try another") from error

    models, heads, golden = checked.models, checked.heads, checked.golden
    sessions: dict[str, onnxruntime.InferenceSession] = {}
    findings: list[Finding] = []
    frame_size = golden.frames.shape[1:3]
    key = run(KEYFRAME, frame=golden.frames[:1], labels_size=_size(frame_size))
    if "feature" not in key and any(member != KEYFRAME for member in models):
        raise BundleError(f"{KEYFRAME} has no output 'feature': export the bundle again")
    features: dict[tuple[str, int], NDArray[Any]] = {}
    for member in [KEYFRAME, *(name for name in models if name != KEYFRAME and name not in heads), *heads]:
        for index, expected in golden.expected.get(member, {}).items():
            labels_size = expected.labels.shape
            if member == KEYFRAME and index == 0 and labels_size == frame_size:
                found = key
            elif member == KEYFRAME:
                found = run(member, frame=golden.frames[index : index + 1], labels_size=_size(labels_size))
            elif member in heads:
                if (heads[member], index) not in features:
                    raise BundleError(f"{heads[member]} has no output 'lr_feature': export the bundle again")
                feature = features[heads[member], index]
                found = run(member, lr_feature=feature, labels_size=_size(labels_size))
            else:
                found = run(
                    member,
                    frame=golden.frames[index : index + 1],
                    keyframe_feature=key["feature"],
                    motion=golden.motion[index : index + 1],
                    frame_size=_size(frame_size),
                    labels_size=_size(labels_size),
                )
            if "lr_feature" in found:
                features[member, index] = found["lr_feature"]
            findings.extend(_compare(member, index, expected, found, checked.allowed))
    return tuple(findings)


def _size(size: Sequence[int]) -> NDArray[np.int64]:
    return np.array(size, np.int64)


def _compare(
    member: str,
    index: int,
    expected: Expected,
    found: Mapping[str, NDArray[Any]],
    allowed: Mapping[tuple[str, str], float],
) -> list[Finding]:
    unknown = sorted({"labels", *expected.stages} - set(found))
    if unknown:
        raise BundleError(f"golden clip: {member} has no stage {unknown[0]!r}: export the bundle again")
    errors = {stage: samples.error(found[stage]) for stage, samples in expected.stages.items()}
    labels = found["labels"]
    same_shape = labels.shape == (1, *expected.labels.shape)
    errors["labels"] = float(np.mean(labels[0] != expected.labels)) if same_shape else float("inf")
    return [Finding(member, index, stage, error, allowed[member, stage]) for stage, error in errors.items()]
