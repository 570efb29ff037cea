"""Which execution provider runs, and that nobody is told of one that does not."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import arseg_edge
from arseg_edge.bundle import read_bundle
from arseg_edge.errors import ProviderError, UsageError
from arseg_edge.runtime.inference.providers import (
    CPU,
    CUDA,
    Provider,
    ProviderFallbackWarning,
    candidates,
    check_loaded,
)
from arseg_edge.runtime.reports.verify import verify

FAKE = "FakeExecutionProvider"


def pretend(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let ONNX Runtime list these providers."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(names))


@pytest.fixture
def broken_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA provider that is listed, and whose libraries are missing."""
    real = onnxruntime.InferenceSession

    def session(model: bytes, options: Any = None, providers: Sequence[Any] = ()) -> Any:
        if any(CUDA in each for each in providers):
            raise RuntimeError(
                "Failed to load\nlibonnxruntime_providers_cuda.so (CUDAExecutionProvider): no libcudnn.so.9"
            )
        return real(model, options, providers=providers)

    pretend(monkeypatch, CUDA, CPU)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)


# From what is named to what is tried


@pytest.mark.parametrize("wanted", [None, "auto"])
def test_automatic_choice(monkeypatch: pytest.MonkeyPatch, wanted: str | None) -> None:
    pretend(monkeypatch, CUDA, FAKE, CPU)
    assert candidates(wanted) == ([Provider(CUDA), Provider(CPU)], True)
    pretend(monkeypatch, FAKE, CPU)
    assert candidates(wanted) == ([Provider(CPU)], True)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("cpu", [Provider(CPU)]),
        ("CUDA", [Provider(CUDA)]),
        (FAKE, [Provider(FAKE)]),
        ((FAKE, {"device_id": 1}), [Provider(FAKE, {"device_id": 1})]),
        (("cuda", "cpu"), [Provider(CUDA), Provider(CPU)]),
        ([("cuda", {"device_id": "1"}), "cpu"], [Provider(CUDA, {"device_id": "1"}), Provider(CPU)]),
    ],
)
def test_providers_by_name(monkeypatch: pytest.MonkeyPatch, wanted: Any, expected: list[Provider]) -> None:
    pretend(monkeypatch, CUDA, FAKE, CPU)
    assert candidates(wanted) == (expected, False)


def test_the_cpu_takes_what_a_provider_leaves() -> None:
    assert Provider(FAKE, {"a": 1}).with_cpu() == [(FAKE, {"a": 1}), (CPU, {})]
    assert Provider(CPU, {"a": 1}).with_cpu() == [(CPU, {"a": 1})]


def test_the_feature_stays_on_the_device() -> None:
    assert [Provider(name).device for name in (CPU, CUDA, FAKE)] == ["cpu", "cuda", "cpu"]


@pytest.mark.parametrize("wanted", ["tpu", ["cpu", "tpu"], ("tpu", {"device_id": 0})])
def test_a_provider_that_is_not_there(wanted: Any) -> None:
    with pytest.raises(ProviderError) as raised:
        candidates(wanted)
    assert "'tpu'" in str(raised.value)
    for name in onnxruntime.get_available_providers():
        assert name in str(raised.value)


def test_of_several_those_that_this_build_lacks_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, CPU)
    assert candidates(["cuda", "cpu"]) == ([Provider(CPU)], False)


def test_cuda_without_the_package_for_it(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path) -> None:
    pretend(monkeypatch, CPU)
    with pytest.raises(ProviderError, match=r"arseg-edge\[gpu\]") as raised:
        arseg_edge.load(tiny_bundle, providers="cuda")
    assert raised.value.exit_code == 4


def test_no_provider_at_all() -> None:
    with pytest.raises(ProviderError, match="name one"):
        candidates([])


@pytest.mark.parametrize("wanted", [5, [None], [("cpu",)], ("cpu", 5), [("cpu", "fast")]])
def test_what_names_no_provider(wanted: Any) -> None:
    with pytest.raises(UsageError, match="give a name"):
        candidates(wanted)


# What is loaded


@pytest.mark.parametrize("wanted", ["cpu", CPU, (CPU, {"arena_extend_strategy": "kSameAsRequested"}), ["cpu"], "auto"])
def test_the_cpu_loads_without_a_warning(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, wanted: Any) -> None:
    pretend(monkeypatch, CPU)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with arseg_edge.load(tiny_bundle, providers=wanted) as segmenter:
            assert segmenter.provider == CPU
            assert segmenter.step(np.zeros((64, 96, 3), np.uint8)).speed.provider == CPU


@pytest.mark.usefixtures("broken_cuda")
def test_auto_says_when_it_falls_back(tiny_bundle: Path) -> None:
    with pytest.warns(ProviderFallbackWarning, match=r"CUDAExecutionProvider.*CPU.*libcudnn") as caught:
        segmenter = arseg_edge.load(tiny_bundle)
    assert segmenter.provider == CPU
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    with pytest.warns(ProviderFallbackWarning, match="libcudnn"):
        assert verify(read_bundle(tiny_bundle)).provider == CPU


@pytest.mark.usefixtures("broken_cuda")
def test_a_named_provider_that_does_not_load_is_an_error(tiny_bundle: Path) -> None:
    for use in (
        lambda: arseg_edge.load(tiny_bundle, providers="cuda"),
        lambda: verify(read_bundle(tiny_bundle), providers="cuda"),
    ):
        with pytest.raises(ProviderError, match=r"CUDAExecutionProvider does not load.*libcudnn") as raised:
            use()
        assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("broken_cuda")
def test_of_several_the_first_that_loads(tiny_bundle: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert arseg_edge.load(tiny_bundle, providers=["cuda", "cpu"]).provider == CPU
        assert verify(read_bundle(tiny_bundle), providers=["cuda", "cpu"]).provider == CPU


def test_a_session_that_went_elsewhere_by_itself(tiny_bundle: Path) -> None:
    session = onnxruntime.InferenceSession(read_bundle(tiny_bundle).read("keyframe.onnx"), providers=[CPU])
    check_loaded(Provider(CPU), session)
    with pytest.raises(ProviderError, match=f"{FAKE} does not load here.*running: {CPU}"):
        check_loaded(Provider(FAKE), session)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_onnxruntimes_own_fallback_is_noticed(monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path) -> None:
    """A listed provider that ONNX Runtime passes over in favour of the CPU."""
    if FAKE in onnxruntime.get_available_providers():
        raise AssertionError("the name is meant to be nobody's")
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda model, options, providers: real(model, options, providers=[CPU])
    )
    pretend(monkeypatch, FAKE, CPU)
    with pytest.raises(ProviderError, match=f"{FAKE} does not load here"):
        arseg_edge.load(tiny_bundle, providers=FAKE)
