"""Verify passes on what export made, and names what is off: member, operator or provider."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from arseg_edge.bundle import GOLDEN, KEYFRAME, Bundle, read_bundle, write_bundle
from arseg_edge.demo import demo_bundle
from arseg_edge.errors import BundleError, OperatorError
from arseg_edge.golden import Expected, GoldenClip, Samples, read_golden
from arseg_edge.integrity import damage_of
from arseg_edge.manifest import ParityFigure
from arseg_edge.onnx_bytes import _fields, tiny_model
from arseg_edge.runtime.inference.providers import CPU, Provider
from arseg_edge.runtime.inference.sessions import open_session
from arseg_edge.runtime.reports import verify as verify_module
from arseg_edge.runtime.reports.verify import Finding, Verification, verify

FAKE = "FakeExecutionProvider"
LIBRARY = Path("libarseg_ops.so")

Weights = npt.NDArray[np.float32]


def with_weights(model: bytes, change: Callable[[Weights], Weights]) -> bytes:
    """Return the model with its largest float32 initializer changed (fields 7, 5 and 9 of onnx.proto)."""
    buffer = bytearray(model)
    found: list[Weights] = []
    for number, graph in _fields(memoryview(buffer)):
        if number == 7 and isinstance(graph, memoryview):
            for kind, tensor in _fields(graph):
                if kind == 5 and isinstance(tensor, memoryview):
                    fields = dict(_fields(tensor))
                    if fields.get(2) == 1 and isinstance(raw := fields.get(9), memoryview):
                        found.append(np.frombuffer(raw, np.float32))
    largest = max(found, key=len)
    assert len(largest) >= 8 * 8 * 9
    largest[:] = change(largest)
    return bytes(buffer)


def rewritten(bundle: Bundle, target: Path, members: Mapping[str, bytes]) -> Bundle:
    """Write the bundle with other members, under checksums that fit them."""
    content = {name: members.get(name, bundle.read(name)) for name in bundle.manifest.members}
    return write_bundle(target, bundle.manifest, content)


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return read_bundle(tiny_bundle)


@pytest.mark.parametrize("native", ["1", "0"])
def test_what_export_made_passes(
    tiny_bundle: Path, tiny_fixed_bundle: Path, native: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARSEG_EDGE_NATIVE", native)
    for path in (tiny_bundle, tiny_fixed_bundle):
        outcome = verify(read_bundle(path), providers="cpu")
        assert outcome.passed
        assert outcome.blame is None
        assert outcome.provider == CPU
        assert outcome.native <= (native == "1")
        seen = {(finding.member, finding.stage) for finding in outcome.findings}
        lr = {(member, stage) for member in MEMBERS[1:] for stage in ("lr_feature", "logits", "labels")}
        heads = {(head, "labels") for head in HEADS.values()}
        assert seen == {(KEYFRAME, "feature"), (KEYFRAME, "labels")} | lr | heads
        assert all(finding.error <= finding.tolerance == 1e-3 for finding in outcome.findings)


HEADS = {"nonkeyframe.onnx": "head.onnx", "nonkeyframe-0.3.onnx": "head-0.3.onnx"}
MEMBERS = (KEYFRAME, *HEADS)


# Members


@pytest.mark.parametrize("member", [*MEMBERS, *HEADS.values(), GOLDEN])
def test_a_damaged_member(bundle: Bundle, tmp_path: Path, member: str) -> None:
    data = bytearray(bundle.path.read_bytes())
    data[data.index(bundle.read(member)) + 1234] ^= 1
    path = tmp_path / "damaged.arseg"
    path.write_bytes(data)
    with pytest.raises(BundleError, match=member):
        verify(read_bundle(path))


@pytest.mark.parametrize("member", MEMBERS)
def test_other_weights_under_a_checksum_that_fits(bundle: Bundle, tmp_path: Path, member: str) -> None:
    other = rewritten(
        bundle, tmp_path / "other.arseg", {member: with_weights(bundle.read(member), lambda weights: weights[::-1])}
    )
    outcome = verify(other)
    assert not outcome.passed
    assert outcome.blame is not None
    assert outcome.blame.split(":")[0].endswith(f"in {member}")
    assert f"{member} itself" in outcome.blame
    off = {finding.member for finding in outcome.findings if not finding.passed}
    # A feature that is off spoils all that is made of it; one LR branch does not spoil another.
    assert off == (set(MEMBERS) if member == KEYFRAME else {member, HEADS[member]})


def test_what_is_no_number_is_off(bundle: Bundle, tmp_path: Path) -> None:
    spoilt = with_weights(bundle.read(KEYFRAME), lambda weights: weights * np.float32(np.nan))
    outcome = verify(rewritten(bundle, tmp_path / "nan.arseg", {KEYFRAME: spoilt}))
    features = [f for f in outcome.findings if (f.member, f.stage) == (KEYFRAME, "feature")]
    assert {feature.error for feature in features} == {np.inf}
    assert not any(feature.passed for feature in features)
    assert not outcome.passed


@pytest.mark.parametrize(("error", "passed"), [(0.0, True), (1e-3, True), (1.1e-3, False), (np.nan, False)])
def test_the_tolerance(error: float, passed: bool) -> None:
    finding = Finding(KEYFRAME, 0, "feature", error, 1e-3)
    assert finding.passed is passed
    assert Verification(CPU, False, (finding,), None).passed is passed


# The golden clip


def with_golden(bundle: Bundle, target: Path, clip: GoldenClip) -> Bundle:
    return rewritten(bundle, target, {GOLDEN: clip.to_bytes()})


def golden_clip(bundle: Bundle) -> GoldenClip:
    return read_golden(bundle.read(GOLDEN), "golden")


def with_parity(bundle: Bundle, change: Callable[[ParityFigure], ParityFigure]) -> Bundle:
    manifest = bundle.manifest
    return Bundle(bundle.path, dataclasses.replace(manifest, parity=tuple(map(change, manifest.parity))))


def test_a_stage_that_no_member_has(bundle: Bundle, tmp_path: Path) -> None:
    def dream(figure: ParityFigure) -> ParityFigure:
        return dataclasses.replace(figure, stage="dream" if figure.stage == "feature" else figure.stage)

    golden = golden_clip(bundle)
    stages = {"dream": Samples(np.zeros(4, np.float32), 1.0)}
    expected = {**golden.expected, KEYFRAME: {0: Expected(golden.expected[KEYFRAME][0].labels, stages)}}
    changed = with_golden(bundle, tmp_path / "dream.arseg", dataclasses.replace(golden, expected=expected))
    with pytest.raises(
        BundleError, match=r"golden clip has the stage 'dream' of keyframe\.onnx, frame 0, unlike the comp"
    ):
        verify(changed)
    with pytest.raises(BundleError, match=r"golden clip: keyframe\.onnx has no stage 'dream'"):
        verify(with_parity(changed, dream))


Expectations = dict[str, dict[int, Expected]]


def nothing(expected: Expectations) -> None:
    expected.clear()


def no_keyframe(expected: Expectations) -> None:
    del expected[KEYFRAME]


def no_second_branch(expected: Expectations) -> None:
    del expected["nonkeyframe-0.3.onnx"]


def labels_alone(expected: Expectations) -> None:
    expected["nonkeyframe.onnx"][2] = dataclasses.replace(expected["nonkeyframe.onnx"][2], stages={})


def keyframe_twice(expected: Expectations) -> None:
    expected["nonkeyframe.onnx"][0] = expected["nonkeyframe.onnx"][1]


def a_head_on_another_frame(expected: Expectations) -> None:
    expected["nonkeyframe.onnx"].pop(2)


def a_graph_that_is_not_there(expected: Expectations) -> None:
    expected["nonkeyframe-0.7.onnx"] = expected["nonkeyframe.onnx"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (nothing, "expects nothing of keyframe.onnx, so that it could not be verified"),
        (no_keyframe, "expects nothing of keyframe.onnx, so that it could not be verified"),
        (no_second_branch, "expects nothing of nonkeyframe-0.3.onnx, so that it could not be verified"),
        (labels_alone, "lacks the stage 'logits' of nonkeyframe.onnx, frame 2, unlike the comparisons at export"),
        (keyframe_twice, "expects nonkeyframe.onnx to run on frame 0"),
        (a_head_on_another_frame, "expects head.onnx to run on frame 2, and nonkeyframe.onnx not"),
        (a_graph_that_is_not_there, "expects something of 'nonkeyframe-0.7.onnx', which the bundle lacks"),
    ],
)
def test_a_clip_that_leaves_something_unverified_is_refused(
    bundle: Bundle, tmp_path: Path, change: Callable[[Expectations], None], complaint: str
) -> None:
    golden = golden_clip(bundle)
    expected = {member: dict(runs) for member, runs in golden.expected.items()}
    change(expected)
    other = with_golden(bundle, tmp_path / "other.arseg", dataclasses.replace(golden, expected=expected))
    with pytest.raises(BundleError) as error:
        verify(other)
    assert f"other.arseg: the golden clip {complaint}: export the bundle again" in str(error.value)
    assert damage_of(other) == {GOLDEN: str(error.value)}


def test_labels_of_another_size_of_a_bundle_that_gives_none(tiny_bundle: Path, tmp_path: Path) -> None:
    old = read_bundle(tiny_bundle.with_name("tiny-format1.arseg"))
    golden = golden_clip(old)
    runs = {member: dict(each) for member, each in golden.expected.items()}
    runs[KEYFRAME][0] = dataclasses.replace(runs[KEYFRAME][0], labels=np.zeros((9, 9), np.uint8))
    other = with_golden(old, tmp_path / "other.arseg", GoldenClip(golden.frames, golden.motion, runs))
    with pytest.raises(BundleError, match=r"labels of another size of keyframe\.onnx, frame 0, which bundle format 1"):
        verify(other)


def test_a_clip_of_a_size_that_the_bundle_does_not_take(
    bundle: Bundle, tiny_fixed_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="golden clip has frames of 96x128, which the bundle does not take"):
        verify(with_golden(read_bundle(tiny_fixed_bundle), tmp_path / "other.arseg", golden_clip(bundle)))


def test_nothing_found_is_nothing_passed() -> None:
    assert not Verification(CPU, False, (), None).passed


@pytest.mark.parametrize(
    ("member", "stage"), [("nonkeyframe.onnx", "logits"), ("nonkeyframe-0.3.onnx", "lr_feature"), (KEYFRAME, "feature")]
)
def test_each_stage_has_its_own_tolerance(bundle: Bundle, member: str, stage: str) -> None:
    def strict(figure: ParityFigure) -> ParityFigure:
        return dataclasses.replace(figure, tolerance=0.0 if (figure.member, figure.stage) == (member, stage) else 0.25)

    outcome = verify(with_parity(bundle, strict), providers="cpu")
    assert not outcome.passed  # PyTorch and ONNX Runtime do not agree to the last bit
    assert {(finding.member, finding.stage) for finding in outcome.findings if not finding.passed} == {(member, stage)}
    for finding in outcome.findings:
        assert finding.tolerance == (0.0 if (finding.member, finding.stage) == (member, stage) else 0.25)


def test_a_peak_that_makes_every_difference_small_is_off(bundle: Bundle, tmp_path: Path) -> None:
    golden = golden_clip(bundle)
    key = golden.expected[KEYFRAME][0]
    stages = {"feature": Samples(key.stages["feature"].values * 7, 1e30)}
    expected = {**golden.expected, KEYFRAME: {0: Expected(key.labels, stages)}}
    outcome = verify(with_golden(bundle, tmp_path / "peak.arseg", dataclasses.replace(golden, expected=expected)))
    (feature,) = [f for f in outcome.findings if (f.member, f.stage) == (KEYFRAME, "feature")]
    assert feature.error == pytest.approx(1)
    assert not outcome.passed


def test_damage_of_a_sound_bundle_and_of_one_that_is_not(
    bundle: Bundle, tiny_fixed_bundle: Path, tmp_path: Path
) -> None:
    for path in (bundle.path, tiny_fixed_bundle, demo_bundle()):
        assert damage_of(read_bundle(path)) == {}
    data = bytearray(bundle.path.read_bytes())
    for member in (KEYFRAME, GOLDEN):
        data[data.index(bundle.read(member)) + 1234] ^= 1
    path = tmp_path / "damaged.arseg"
    path.write_bytes(data)
    found = damage_of(read_bundle(path))
    assert set(found) == {KEYFRAME, GOLDEN}
    assert all(str(path) in line and member in line and "\n" not in line for member, line in found.items())
    clip = rewritten(bundle, path, {GOLDEN: b"no clip"})
    assert "the golden clip is broken (File is not a zip file)" in damage_of(clip)[GOLDEN]


def test_a_member_that_onnxruntime_cannot_run(bundle: Bundle, tmp_path: Path) -> None:
    other = rewritten(bundle, tmp_path / "relu.arseg", {KEYFRAME: tiny_model()})
    with pytest.raises(OperatorError, match=r"keyframe\.onnx: ONNX Runtime failed on CPU") as raised:
        verify(other)
    assert "\n" not in str(raised.value)


# Operators and providers


class Off:
    """A session whose outputs of some stages are off."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        stages: set[str],
        change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] = lambda output: 1 - output,
    ) -> None:
        self._session = session
        self._stages = stages
        self._change = change

    def get_outputs(self) -> Any:
        return self._session.get_outputs()

    def get_inputs(self) -> Any:
        return self._session.get_inputs()

    def run(self, names: list[str], inputs: Any) -> list[npt.NDArray[Any]]:
        outputs = self._session.run(names, inputs)
        return [self._change(each) if name in self._stages else each for name, each in zip(names, outputs, strict=True)]


def spoil(monkeypatch: pytest.MonkeyPatch, member: str, stages: set[str]) -> None:
    """Let everything but standard operators on the CPU get these stages of a member wrong."""

    def open_(model: bytes, provider: Provider, threads: int, name: str, library: object | None) -> Any:
        session = open_session(model, Provider(CPU), threads, name, None)
        plain = provider.name == CPU and library is None
        return session if plain or name != member else Off(session, stages)

    monkeypatch.setattr(verify_module, "open_session", open_)


@pytest.mark.parametrize(
    ("member", "stages", "suspect"),
    [
        (KEYFRAME, {"feature", "labels"}, "feature in keyframe.onnx: the keyframe network or NormalizeImage"),
        (KEYFRAME, {"labels"}, "labels in keyframe.onnx: SegmentationLabels"),
        ("nonkeyframe.onnx", {"lr_feature", "logits"}, "lr_feature in nonkeyframe.onnx: the LR network"),
        ("nonkeyframe-0.3.onnx", {"logits", "labels"}, "logits in nonkeyframe-0.3.onnx: Creff"),
    ],
)
def test_an_operator_of_the_native_library(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, member: str, stages: set[str], suspect: str
) -> None:
    monkeypatch.setattr(verify_module, "native_operators", lambda provider: LIBRARY)
    spoil(monkeypatch, member, stages)
    outcome = verify(bundle, providers="cpu")
    assert outcome.native
    assert not outcome.passed
    assert outcome.blame is not None
    assert outcome.blame.startswith(suspect)
    assert "native library" in outcome.blame
    assert "ARSEG_EDGE_NATIVE=0" in outcome.blame


def test_a_provider(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [FAKE, CPU])
    spoil(monkeypatch, "nonkeyframe.onnx", {"logits"})
    outcome = verify(bundle, providers=FAKE)
    assert outcome.provider == FAKE
    assert not outcome.native
    assert outcome.blame == f"logits in nonkeyframe.onnx: provider {FAKE}; the CPU gets it right, use --provider cpu"


def test_labels_of_another_size(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_(*arguments: Any) -> Any:
        return Off(open_session(*arguments), {"labels"}, lambda labels: labels[:, 1:])

    monkeypatch.setattr(verify_module, "open_session", open_)
    findings = verify(bundle, providers="cpu").findings
    assert {finding.error for finding in findings if finding.stage == "labels"} == {np.inf}
    assert all(finding.passed for finding in findings if finding.stage != "labels")
