"""Plugin packages: found by their metadata, loaded when named; ONNX Runtime's side of it is a stand-in."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnxruntime
import pytest

from arseg_edge.errors import ProviderError
from arseg_edge.runtime.inference import plugins
from arseg_edge.runtime.inference.plugins import Plugin, find_plugin, installed_plugins
from arseg_edge.runtime.inference.providers import CPU, OPENVINO, Provider, first_that_loads

OFFERS = {"openvino": ("NPU", "CPU")}


@dataclass
class Runtime:
    """ONNX Runtime as far as plugins see it: what is registered offers these types of devices."""

    offers: Mapping[str, Sequence[str]]
    registered: list[tuple[str, str]] = field(default_factory=list)
    added: list[tuple[list[str], dict[str, str]]] = field(default_factory=list)

    def register(self, name: str, path: str) -> None:
        self.registered.append((name, path))

    def devices(self) -> list[Any]:
        # A type that ends in "?" is a virtual device's.
        kinds = [kind for name, _ in self.registered for kind in self.offers[name]]
        return [device(CPU, "CPU"), *(device(OPENVINO, kind) for kind in kinds)]


def device(provider: str, kind: str) -> Any:
    hardware = SimpleNamespace(
        type=SimpleNamespace(name=kind.rstrip("?")), metadata={"is_virtual": "1"} if kind.endswith("?") else {}
    )
    return SimpleNamespace(ep_name=provider, device=hardware)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in which one plugin package is installed."""
    package = tmp_path / "onnxruntime_ep_openvino"
    package.mkdir()
    (package / "__init__.py").write_text(
        f"def get_library_path(): return '/the/plugin.so'\ndef get_ep_names(): return ['{OPENVINO}']\n"
    )
    about = tmp_path / "onnxruntime_ep_openvino-1.8.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-ep-openvino\nVersion: 1.8.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    plugins.plugin_devices.cache_clear()
    yield
    plugins.plugin_devices.cache_clear()
    sys.modules.pop("onnxruntime_ep_openvino", None)


def let_it_offer(monkeypatch: pytest.MonkeyPatch, offers: Mapping[str, Sequence[str]]) -> Runtime:
    runtime = Runtime(offers)
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", runtime.register, raising=False)
    monkeypatch.setattr(onnxruntime, "get_ep_devices", runtime.devices, raising=False)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])

    class Options:
        intra_op_num_threads = 3

        def add_provider_for_devices(self, devices: list[Any], options: dict[str, str]) -> None:
            runtime.added.append(([each.device.type.name for each in devices], options))

    def session(model: bytes, options: Any) -> Any:
        return SimpleNamespace(get_providers=lambda: [OPENVINO, CPU])

    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return runtime


def chosen(wanted: Any) -> Provider:
    provider, _ = first_that_loads(wanted, lambda each: each.session(b"", onnxruntime.SessionOptions()))
    return provider


def test_packages_are_found_and_not_imported(site: Path) -> None:
    plugin = Plugin("openvino", "1.8.1")
    assert plugin in installed_plugins()
    assert find_plugin("openvino") == plugin
    assert plugin.package == "onnxruntime-ep-openvino"
    assert find_plugin("no-such") is None
    assert "onnxruntime_ep_openvino" not in sys.modules


@pytest.mark.parametrize("name", ["openvino", "OpenVINO", OPENVINO])
def test_a_plugin_by_name(site: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    runtime = let_it_offer(monkeypatch, OFFERS)
    provider = chosen(name)
    assert (provider.name, provider.plugin) == (OPENVINO, Plugin("openvino", "1.8.1"))
    assert provider.takes_native
    assert provider.device == "cpu"
    assert runtime.registered == [("openvino", "/the/plugin.so")]
    ((kinds, options),) = runtime.added
    assert kinds == ["CPU"]
    # By itself it would take all cores, and bfloat16 where the processor has it.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "3"}
    assert json.loads(options.pop("load_config")) == {"CPU": settings}
    assert not options
    chosen(name)
    assert len(runtime.registered) == 1  # once for the process


def test_the_option_device_type_chooses_a_device(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = let_it_offer(monkeypatch, OFFERS)
    provider = chosen(("openvino", {"device_type": "npu", "num_streams": 2}))
    assert runtime.added == [(["NPU"], {"num_streams": "2"})]
    assert not provider.takes_native
    with pytest.raises(ProviderError, match=r"no device_type 'GPU' here, but NPU, CPU: choose"):
        chosen(("openvino", {"device_type": "GPU"}))


def test_settings_of_ones_own_go_first(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = let_it_offer(monkeypatch, OFFERS)
    chosen(("openvino", {"load_config": "{}"}))
    assert runtime.added == [(["CPU"], {"load_config": "{}"})]


def test_a_provider_that_onnxruntime_has_itself_goes_first(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_it_offer(monkeypatch, OFFERS)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [OPENVINO, CPU])
    provider, _ = first_that_loads("openvino", lambda each: None)
    assert provider == Provider(OPENVINO)


def test_a_virtual_cpu_serves_where_no_device_is_offered(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = let_it_offer(monkeypatch, {"openvino": (), "openvino.virtual": ("NPU?", "CPU?")})
    assert chosen("openvino").options == {"device_type": "CPU"}
    assert [name for name, _ in runtime.registered] == ["openvino", "openvino.virtual"]


def test_virtual_devices_that_only_compile_do_not_serve(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_it_offer(monkeypatch, {"openvino": ("GPU?",), "openvino.virtual": ("NPU?", "GPU?")})
    with pytest.raises(ProviderError, match=r"onnxruntime-ep-openvino 1\.8\.1 offers no device on this machine"):
        chosen("openvino")


def test_a_plugin_that_does_not_load(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_it_offer(monkeypatch, OFFERS)

    def register(name: str, path: str) -> None:
        raise RuntimeError(f"{path}: no such\nfile")

    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", register, raising=False)
    with pytest.raises(ProviderError, match=r"does not load \(/the/plugin\.so: no such file\): install it again"):
        chosen("openvino")


def test_an_onnxruntime_that_takes_no_plugins(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_it_offer(monkeypatch, OFFERS)
    monkeypatch.delattr(onnxruntime, "register_execution_provider_library")
    with pytest.raises(ProviderError, match="takes no plugins: update onnxruntime"):
        chosen("openvino")


def test_the_real_metadata_is_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package is guessed: what is listed is installed under this name."""
    for plugin in installed_plugins():
        assert metadata.version(plugin.package) == plugin.version
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_tpu", ModuleType("onnxruntime_ep_tpu"))
    assert find_plugin("tpu") is None
