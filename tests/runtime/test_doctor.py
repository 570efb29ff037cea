"""The doctor looks at everything, and one thing that is broken does not stop it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnxruntime
import pytest

from arseg_edge.runtime.inference.plugins import Plugin
from arseg_edge.runtime.inference.providers import AZURE, CPU, CUDA
from arseg_edge.runtime.native import NativeState
from arseg_edge.runtime.reports import doctor
from arseg_edge.runtime.reports.doctor import ProviderCheck, check_provider, diagnose

FAKE = "FakeExecutionProvider"


class Session:
    """Stands in for ONNX Runtime's session."""

    def __init__(self, providers: Sequence[str], y: Any = None) -> None:
        self._providers = list(providers)
        self._y = y

    def get_providers(self) -> list[str]:
        return self._providers

    def run(self, names: None, inputs: dict[str, Any]) -> list[Any]:
        if isinstance(self._y, Exception):
            raise self._y
        return [self._y]


def test_this_device() -> None:
    found = diagnose()
    own = [name for name in onnxruntime.get_available_providers() if name != "AzureExecutionProvider"]
    assert [check.name for check in found.providers][: len(own)] == own
    assert ProviderCheck(CPU, True, None) in found.providers
    assert found.versions["arseg-edge"] == metadata.version("arseg-edge")
    assert found.versions["libavcodec"] == ".".join(map(str, av.library_versions["libavcodec"]))
    assert found.decoders["h264"] == "motion vectors"
    assert found.decoders["hevc"] == "pictures only"
    assert found.h264_encoder in av.codecs_available
    assert found.cores >= 1


def test_every_provider_runs_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def session(model: bytes, options: Any, providers: Sequence[tuple[str, Any]]) -> Session:
        names = [name for name, _ in providers]
        ran.append(names[0])
        if names[0] == FAKE:
            raise RuntimeError("no\nsuch device")
        return Session(names, np.float32([0, 0, 1, 2]))

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [FAKE, CUDA, AZURE, CPU])
    monkeypatch.setattr(doctor, "installed_plugins", list)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    found = diagnose()
    assert ran == [FAKE, CUDA, CPU]
    assert found.providers == (
        ProviderCheck(FAKE, False, "no such device"),
        ProviderCheck(CUDA, True, None),
        ProviderCheck(CPU, True, None),
    )


@pytest.mark.parametrize(
    ("session", "reason"),
    [
        (Session([CPU]), "does not load"),
        (Session([FAKE, CPU], ValueError("out of\nmemory")), "out of memory"),
        (Session([FAKE, CPU], np.float32([-1, 0, 1, 2])), "computes Relu([-1.0, 0.0, 1.0, 2.0]) as [-1.0"),
        (Session([FAKE, CPU], np.float32([np.nan, 0, 1, 2])), "computes Relu"),
    ],
)
def test_a_provider_that_does_not_work(monkeypatch: pytest.MonkeyPatch, session: Session, reason: str) -> None:
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [FAKE, CPU])
    check = check_provider(FAKE)
    assert not check.works
    assert check.reason is not None
    assert reason in check.reason


def test_plugin_packages_are_listed_and_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed_plugins", lambda: [Plugin("fake", "1.2")])
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    found = diagnose()
    assert found.versions["onnxruntime-ep-fake"] == "1.2"
    (check,) = (check for check in found.providers if check.name == "fake")
    assert not check.works  # there is no such package to import


def test_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(doctor, "check_provider", lambda name: ProviderCheck(name, False, "broken"))
    monkeypatch.setattr(
        doctor, "operators_state", lambda: NativeState(Path("libarseg_ops.so"), False, "turned off", None)
    )
    monkeypatch.setattr(av, "codecs_available", {"hevc"})
    monkeypatch.setattr(metadata, "version", lambda name: "1")
    found = diagnose()
    assert found.h264_encoder is None
    assert found.decoders == {**dict.fromkeys(found.decoders, "missing"), "hevc": "pictures only"}
    for word in (
        "no provider works",
        "both installed",
        f"{CUDA} fails: broken",
        f"{CPU} fails: broken",
        "native library off: turned off",
        "no H.264 decoder",
        "no H.264 encoder",
    ):
        assert any(word in advice for advice in found.advice), word


def test_no_advice_where_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    monkeypatch.setattr(doctor, "operators_state", lambda: NativeState(Path("libarseg_ops.so"), True, "", "avx2"))
    versions = dict.fromkeys(("onnxruntime", "numpy", "av"), "1")

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)
    assert diagnose().advice == ()
