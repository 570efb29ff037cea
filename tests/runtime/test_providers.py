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
from arseg_edge.errors import OperatorError, ProviderError, UsageError
from arseg_edge.runtime.inference.providers import (
    AZURE,
    CPU,
    CUDA,
    OPENVINO,
    TENSORRT,
    Provider,
    ProviderFallbackWarning,
    check_loaded,
    first_that_loads,
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


def chosen(wanted: Any, *broken: str) -> Provider:
    """Return the provider that runs, where those that are ``broken`` do not load."""

    def load(provider: Provider) -> str:
        if provider.name in broken:
            raise ProviderError(f"{provider.name} does not load (no driver)")
        return provider.name

    provider, loaded = first_that_loads(wanted, load)
    assert loaded == provider.name
    return provider


@pytest.mark.parametrize("wanted", [None, "auto"])
def test_automatic_choice(monkeypatch: pytest.MonkeyPatch, wanted: str | None) -> None:
    pretend(monkeypatch, CUDA, FAKE, CPU)
    assert chosen(wanted) == Provider(CUDA)
    pretend(monkeypatch, FAKE, CPU)
    assert chosen(wanted) == Provider(CPU)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("cpu", Provider(CPU)),
        ("CUDA", Provider(CUDA)),
        ("tensorrt", Provider(TENSORRT)),
        (FAKE, Provider(FAKE)),
        ("fake", Provider(FAKE)),
        ((FAKE, {"device_id": 1}), Provider(FAKE, {"device_id": 1})),
        (("cuda", "cpu"), Provider(CUDA)),
        ([("cuda", {"device_id": "1"}), "cpu"], Provider(CUDA, {"device_id": "1"})),
    ],
)
def test_providers_by_name(monkeypatch: pytest.MonkeyPatch, wanted: Any, expected: Provider) -> None:
    pretend(monkeypatch, TENSORRT, CUDA, FAKE, CPU)
    assert chosen(wanted) == expected


def test_the_cpu_takes_what_a_provider_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Provider(FAKE, {"a": 1}).with_cpu() == [(FAKE, {"a": 1}), (CPU, {})]
    assert Provider(CPU, {"a": 1}).with_cpu() == [(CPU, {"a": 1})]
    pretend(monkeypatch, TENSORRT, CUDA, CPU)
    options = {"device_id": 1, "trt_fp16_enable": True}
    assert Provider(TENSORRT, options).with_cpu() == [(TENSORRT, options), (CUDA, {"device_id": 1}), (CPU, {})]
    pretend(monkeypatch, TENSORRT, CPU)
    assert Provider(TENSORRT, options).with_cpu() == [(TENSORRT, options), (CPU, {})]


@pytest.mark.parametrize(
    ("provider", "device"),
    [
        (Provider(CPU), ("cpu", 0)),
        (Provider(CPU, {"device_id": 1}), ("cpu", 0)),
        (Provider(FAKE), ("cpu", 0)),
        (Provider(OPENVINO, {"device_type": "GPU"}), ("cpu", 0)),
        (Provider(CUDA), ("cuda", 0)),
        (Provider(CUDA, {"device_id": 1}), ("cuda", 1)),
        (Provider(CUDA, {"device_id": "2"}), ("cuda", 2)),
        (Provider(TENSORRT, {"device_id": "1"}), ("cuda", 1)),
        (Provider("ROCMExecutionProvider", {"device_id": 1}), ("cuda", 1)),
    ],
)
def test_the_device_that_the_feature_stays_on(provider: Provider, device: tuple[str, int]) -> None:
    assert (provider.device, provider.device_id) == device


@pytest.mark.parametrize("value", ["first", -1, 1.5, None])
def test_a_device_that_is_no_number(value: object) -> None:
    with pytest.raises(UsageError, match=f"device_id {value!r}"):
        _ = Provider(CUDA, {"device_id": value}).device_id


@pytest.mark.parametrize(
    ("provider", "native"),
    [
        (Provider(CPU), True),
        (Provider(CUDA), False),
        (Provider(FAKE), False),
        (Provider(OPENVINO), True),
        (Provider(OPENVINO, {"device_type": "CPU"}), True),
        (Provider(OPENVINO, {"device_type": "cpu_fp32"}), True),
        (Provider(OPENVINO, {"device_type": "GPU"}), False),
        (Provider(OPENVINO, {"device_type": "AUTO:GPU,CPU"}), False),
    ],
)
def test_native_operators_stand_where_tensors_are_in_plain_memory(provider: Provider, native: bool) -> None:
    assert provider.takes_native == native


@pytest.mark.parametrize("wanted", ["tpu", ["cpu", "tpu"], ["tpu", "cpu"], ("tpu", {"device_id": 0})])
def test_a_provider_that_is_not_there(wanted: Any) -> None:
    with pytest.raises(ProviderError) as raised:
        chosen(wanted)
    assert "'tpu'" in str(raised.value)
    for name in onnxruntime.get_available_providers():
        assert (name in str(raised.value)) == (name != AZURE)


def test_a_list_falls_to_the_next_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, CPU)
    with pytest.warns(ProviderFallbackWarning, match=r"provider cuda cannot be used, trying cpu: .*not in this onnx"):
        assert chosen(["cuda", "cpu"]) == Provider(CPU)
    pretend(monkeypatch, CUDA, FAKE, CPU)
    with pytest.warns(ProviderFallbackWarning) as caught:
        assert chosen([("cuda", {"device_id": 3}), "fake", "cpu"], CUDA, FAKE) == Provider(CPU)
    assert [str(each.message) for each in caught] == [
        "provider cuda cannot be used, trying fake: CUDAExecutionProvider does not load (no driver)",
        "provider fake cannot be used, trying cpu: FakeExecutionProvider does not load (no driver)",
    ]


@pytest.mark.filterwarnings("ignore::arseg_edge.runtime.inference.providers.ProviderFallbackWarning")
def test_a_list_of_which_nothing_loads_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, CUDA, FAKE, CPU)
    with pytest.raises(ProviderError, match=f"{FAKE} does not load"):
        chosen(["cuda", "fake"], CUDA, FAKE)


def test_one_name_is_that_provider_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, CUDA, CPU)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for wanted in ("cuda", ["cuda"], ("cuda", {"device_id": 1})):
            with pytest.raises(ProviderError, match=f"{CUDA} does not load"):
                chosen(wanted, CUDA)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("cuda", r"arseg-edge\[gpu\]"), ("openvino", "onnxruntime-ep-openvino"), ("webgpu", "onnxruntime-ep-webgpu")],
)
def test_what_to_install_for_a_provider(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, name: str, remedy: str
) -> None:
    pretend(monkeypatch, CPU)
    with pytest.raises(ProviderError, match=remedy) as raised:
        arseg_edge.load(tiny_bundle, providers=name)
    assert raised.value.exit_code == 4


def test_no_provider_at_all() -> None:
    with pytest.raises(ProviderError, match="name one"):
        chosen([])


@pytest.mark.parametrize("wanted", [5, [None], [("cpu",)], ("cpu", 5), [("cpu", "fast")]])
def test_what_names_no_provider(wanted: Any) -> None:
    with pytest.raises(UsageError, match="give a name"):
        chosen(wanted)


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
    for use in (arseg_edge.load, lambda path, providers: verify(read_bundle(path), providers=providers)):
        with pytest.warns(
            ProviderFallbackWarning, match="provider cuda cannot be used, trying cpu.*libcudnn"
        ) as caught:
            assert use(tiny_bundle, providers=["cuda", "cpu"]).provider == CPU
        assert len(caught) == 1


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


@pytest.mark.parametrize(
    ("options", "passed"),
    [
        ({}, {"num_of_threads": "3"}),
        ({"num_of_threads": "1"}, {"num_of_threads": "1"}),
        ({"device_type": "GPU"}, {"device_type": "GPU"}),
    ],
)
def test_openvino_on_the_cpu_takes_as_many_threads(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, options: dict[str, str], passed: dict[str, str]
) -> None:
    opened = []

    def session(model: bytes, options: Any, providers: Sequence[Any]) -> Any:
        opened.append(providers)
        raise RuntimeError("that is all")

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    pretend(monkeypatch, OPENVINO, CPU)
    with pytest.raises(OperatorError):
        arseg_edge.load(tiny_bundle, providers=("openvino", options), threads=3)
    assert opened == [[(OPENVINO, passed), (CPU, {})]]


# Where the feature stays, seen at ONNX Runtime's bindings: no device but the CPU's is here


@pytest.mark.parametrize(
    ("wanted", "device"),
    [
        ("cpu", ("cpu", 0)),
        ("cuda", ("cuda", 0)),
        (("cuda", {"device_id": 1}), ("cuda", 1)),
        (("tensorrt", {"device_id": "2"}), ("cuda", 2)),
        (("rocm", {"device_id": 1}), ("cuda", 1)),
        ("fake", ("cpu", 0)),
    ],
)
def test_the_feature_is_bound_on_the_device_that_computes_it(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, wanted: Any, device: tuple[str, int]
) -> None:
    names = [TENSORRT, CUDA, "ROCMExecutionProvider", FAKE, CPU]
    bound, opened = [], []

    class Session(onnxruntime.InferenceSession):  # type: ignore[misc]  # onnxruntime has no types
        """Says that it runs where it was told to, and runs on the CPU."""

        def __init__(self, model: bytes, options: Any, providers: Sequence[Any]) -> None:
            super().__init__(model, options, providers=[CPU])
            opened.append([dict(options) for _, options in providers])
            self._names = [name for name, _ in providers]

        def get_providers(self) -> list[str]:
            return self._names

    real = onnxruntime.IOBinding.bind_output

    def bind_output(self: Any, name: str, device_type: str = "cpu", device_id: int = 0, *rest: Any) -> None:
        bound.append((name, device_type, device_id))
        real(self, name, "cpu", 0, *rest)

    pretend(monkeypatch, *names)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime.IOBinding, "bind_output", bind_output)
    with arseg_edge.load(tiny_bundle, providers=wanted) as segmenter:
        picture = np.zeros((64, 96, 3), np.uint8)
        segmenter.step(picture, keyframe=True)
        segmenter.step(picture, motion=np.zeros((64, 96, 2), np.float32))
    assert {each for each in bound if each[0] == "feature"} == {("feature", *device)}
    assert {each for each in bound if each[0] == "labels"} == {("labels", "cpu", 0)}
    assert len(opened) == 2
    assert all(options[0].get("device_id", 0) in (device[1], str(device[1])) for options in opened)
