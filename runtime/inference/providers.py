"""Execution providers: from what a caller names to a session that really runs on it.

``auto`` is CUDA where this ONNX Runtime has it, else the CPU. One name is that provider, or an error. Of several, the
first that loads runs, and a warning says why those before it did not. A name is ONNX Runtime's own, or a short form of
it: ``cuda`` for ``CUDAExecutionProvider``. Where the installed ONNX Runtime lacks the provider, a plugin package
(``plugins.py``) may bring it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import onnxruntime

from arseg_edge.errors import ProviderError, UsageError, reason_of
from arseg_edge.runtime.inference.plugins import Plugin, device_type, find_plugin, plugin_devices

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
OPENVINO: Final = "OpenVINOExecutionProvider"
AZURE: Final = "AzureExecutionProvider"
"""In every ONNX Runtime, and no provider in our sense: it runs nothing here, it calls a service."""

_SUFFIX = "ExecutionProvider"

# Where a provider keeps its tensors, in the words of ONNX Runtime's bindings; those that are not here give and take
# them in plain memory. ROCm's memory is named as CUDA's in every ONNX Runtime that has the provider.
_MEMORY = {CUDA: "cuda", TENSORRT: "cuda", "NvTensorRTRTXExecutionProvider": "cuda", "ROCMExecutionProvider": "cuda"}

# They compute on the CPU, in plain memory, so that native operators between their parts of a graph cost no copy.
_ON_THE_CPU = {CPU, "XnnpackExecutionProvider", "DnnlExecutionProvider", "ACLExecutionProvider"}

_REMEDIES = {
    "cuda": 'CUDA needs: pip install "arseg-edge[gpu]"',
    "openvino": "OpenVINO needs: pip install onnxruntime-ep-openvino, or onnxruntime-openvino instead of onnxruntime",
    "webgpu": "WebGPU needs: pip install onnxruntime-ep-webgpu",
}

ProviderLike = str | tuple[str, Mapping[str, Any]]
"""``auto``, ``cpu``, ``cuda``, ``openvino`` …, or ONNX Runtime's own name; with options as (name, {option: value})."""

T = TypeVar("T")


class ProviderFallbackWarning(UserWarning):
    """A provider that was asked for, or found by ``auto``, does not work; the next one runs."""


@dataclass(frozen=True)
class Provider:
    """One execution provider with its options; whatever it does not take runs on the CPU."""

    name: str
    """ONNX Runtime's."""
    options: Mapping[str, Any] = field(default_factory=dict)
    plugin: Plugin | None = None
    """The package that brings it, where ONNX Runtime itself does not."""

    @property
    def device(self) -> str:
        """Where the keyframe's feature stays: ONNX Runtime's name of the memory."""
        return _MEMORY.get(self.name, "cpu")

    @property
    def device_id(self) -> int:
        """Which of several such devices.

        Raises:
            UsageError: the option ``device_id`` is no number of one.
        """
        if self.device == "cpu":
            return 0
        value = self.options.get("device_id", 0)
        if not str(value).isdecimal():
            raise UsageError(f"provider {self.name}: device_id {value!r} is no number of a device: give 0 or more")
        return int(value)

    @property
    def takes_native(self) -> bool:
        """Whether the native operators may stand between what this provider takes of a graph.

        On a device with memory of its own they would draw every tensor through the CPU's.
        """
        if self.name == OPENVINO:
            return str(self.options.get("device_type", "CPU")).upper().startswith("CPU")
        return self.name in _ON_THE_CPU

    def with_cpu(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what a session is created with; what TensorRT leaves, CUDA takes where it is there."""
        named = [(self.name, dict(self.options))]
        if self.name == TENSORRT and CUDA in onnxruntime.get_available_providers():
            named.append((CUDA, {"device_id": self.device_id}))
        return named if self.name == CPU else [*named, (CPU, {})]

    def session(self, model: bytes, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        """Return a session of ``model`` on this provider.

        Raises:
            ProviderError: it does not load; ONNX Runtime by itself would fall back.
            Exception: whatever ONNX Runtime throws for the model.
        """
        try:
            if self.plugin is None:
                named = self.with_cpu()
                if self.name == OPENVINO and self.takes_native and options.intra_op_num_threads:
                    named[0][1].setdefault("num_of_threads", str(options.intra_op_num_threads))
                session = onnxruntime.InferenceSession(model, options, providers=named)
            else:
                device, rest = self._plugin_device(self.plugin)
                if self.name == OPENVINO and device_type(device) == "CPU":
                    rest.setdefault("load_config", _openvino_config(options.intra_op_num_threads))
                options.add_provider_for_devices([device], {key: str(value) for key, value in rest.items()})
                session = onnxruntime.InferenceSession(model, options)
        except ProviderError:
            raise
        except Exception as error:
            if self.name != CPU and self.name.removesuffix(_SUFFIX) in str(error):
                raise ProviderError(
                    f"{self.name} does not load ({reason_of(error)}): see `arseg-edge doctor`, or use --provider cpu"
                ) from error
            raise
        check_loaded(self, session)
        return session

    def _plugin_device(self, plugin: Plugin) -> tuple[Any, dict[str, Any]]:
        """Return the device to use, and the options that do not choose one."""
        _, offered = plugin_devices(plugin)
        rest = dict(self.options)
        types = [device_type(each) for each in offered]
        wanted = str(rest.pop("device_type")).upper()
        if wanted not in types:
            raise ProviderError(
                f"{self.name}: {plugin.package} {plugin.version} offers no device_type {wanted!r} here, "
                f"but {', '.join(dict.fromkeys(types))}: choose one of these"
            )
        return offered[types.index(wanted)], rest


def _openvino_config(threads: int) -> str:
    """Return the settings of OpenVINO's plugin on a CPU.

    By itself it takes all cores, and computes in bfloat16 where the processor can: labels then differ in percents.
    OpenVINO built into an ONNX Runtime keeps single precision.
    """
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = str(threads)
    return json.dumps({"CPU": settings})


def first_that_loads(
    wanted: ProviderLike | Sequence[ProviderLike] | None, load: Callable[[Provider], T]
) -> tuple[Provider, T]:
    """Return the first provider for which ``load`` raises no ProviderError, and what it returned.

    Raises:
        ProviderError: the only one that was named cannot be had, or none of several; or a name is nobody's.
        UsageError: something that names no provider.
        Exception: whatever else ``load`` raises.
    """
    named = _listed(wanted)
    for position, each in enumerate(named):
        try:
            provider = _resolve(each)
            return provider, load(provider)
        except ProviderError as error:
            if position == len(named) - 1:
                raise
            warnings.warn(
                f"provider {_name_of(each)} cannot be used, trying {_name_of(named[position + 1])}: "
                f"{reason_of(error, 400)}",
                ProviderFallbackWarning,
                stacklevel=3,
            )
    raise AssertionError("unreachable: the last provider either loads or raises")


def _listed(wanted: ProviderLike | Sequence[ProviderLike] | None) -> list[ProviderLike]:
    """Return the providers to try in turn; names that nobody knows are refused before anything is tried."""
    if wanted is None or wanted == "auto":
        have = onnxruntime.get_available_providers()
        return [name for name in (CUDA, CPU) if name in have]
    single = isinstance(wanted, str) or (
        isinstance(wanted, tuple) and len(wanted) == 2 and isinstance(wanted[1], Mapping)
    )
    listed: list[Any] = [wanted] if single or not isinstance(wanted, Sequence) else list(wanted)
    if not listed:
        raise ProviderError("no execution provider named: name one, such as cpu, or auto")
    for each in listed:
        name, _ = _parts(each)
        if _full_name(name) is None and find_plugin(_short_name(name)) is None and len(listed) > 1:
            raise _not_here(name)
    return listed


def _resolve(wanted: ProviderLike) -> Provider:
    name, options = _parts(wanted)
    full = _full_name(name)
    if full is not None and full in onnxruntime.get_available_providers():
        return Provider(full, options)
    plugin = find_plugin(_short_name(name))
    if plugin is not None:
        full, devices = plugin_devices(plugin)
        types = [device_type(each) for each in devices]
        # As OpenVINO's built-in provider does.
        options.setdefault("device_type", "CPU" if "CPU" in types else types[0])
        return Provider(full, options, plugin)
    raise _not_here(name)


def _not_here(name: str) -> ProviderError:
    remedy = _REMEDIES.get(_short_name(name))
    have = [each for each in onnxruntime.get_available_providers() if each != AZURE]
    return ProviderError(
        f"execution provider {name!r} is not in this onnxruntime, which has {', '.join(have)}: choose one of these"
        + (f" ({remedy})" if remedy else "")
    )


def _parts(wanted: Any) -> tuple[str, dict[str, Any]]:
    match wanted:
        case str(name):
            return name, {}
        case (str(name), Mapping() as options):
            return name, dict(options)
    raise UsageError(f"provider {wanted!r}: give a name such as cpu, or (name, {{option: value}})")


def _name_of(wanted: ProviderLike) -> str:
    return wanted if isinstance(wanted, str) else wanted[0]


def _short_name(name: str) -> str:
    return name.lower().removesuffix(_SUFFIX.lower())


def _full_name(name: str) -> str | None:
    """Return ONNX Runtime's own name of a provider that it knows, whether this build has it or not."""
    known = [*onnxruntime.get_available_providers(), *onnxruntime.get_all_providers()]
    return next((each for each in known if _short_name(each) == _short_name(name)), None)


def check_loaded(provider: Provider, session: onnxruntime.InferenceSession) -> None:
    """Raise ProviderError if the session goes without the provider: ONNX Runtime falls back by itself."""
    loaded = session.get_providers()
    if provider.name not in loaded:
        raise ProviderError(
            f"execution provider {provider.name} does not load here (running: {', '.join(loaded)}): "
            "check its driver and libraries, see `arseg-edge doctor`, or use --provider cpu"
        )
