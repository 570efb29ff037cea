"""What works on this device: versions, execution providers, the native library, codecs, and what to install."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib import metadata

import av
import numpy as np
import onnxruntime

from arseg_edge.errors import ArsegError, reason_of
from arseg_edge.onnx_bytes import tiny_model
from arseg_edge.runtime.inference.cpu_budget import usable_cores
from arseg_edge.runtime.inference.native_operators import operators_state
from arseg_edge.runtime.inference.plugins import installed_plugins
from arseg_edge.runtime.inference.providers import AZURE, CPU, CUDA, first_that_loads
from arseg_edge.runtime.motion.vectors import VECTOR_CODECS
from arseg_edge.runtime.native import NativeState
from arseg_edge.runtime.sinks.overlay import H264_ENCODERS

_PACKAGES = (
    "arseg-edge",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "numpy",
    "av",
    "opencv-python-headless",
    "torch",
    "onnx",
    "onnxscript",
)
_DECODERS = ("h264", "mpeg4", "mpeg2video", "hevc", "vp8", "vp9", "av1")


@dataclass(frozen=True)
class ProviderCheck:
    """Whether an execution provider ran a tiny model, and why not."""

    name: str
    works: bool
    reason: str | None


@dataclass(frozen=True)
class Diagnosis:
    """The state of this device; ``advice`` is what to do about what is missing."""

    versions: dict[str, str]
    cores: int
    providers: tuple[ProviderCheck, ...]
    native: NativeState
    decoders: dict[str, str]
    """For each codec ``motion vectors``, ``pictures only``, or ``missing``."""
    h264_encoder: str | None
    advice: tuple[str, ...]


def diagnose() -> Diagnosis:
    """Look at this device; every provider of ONNX Runtime's own and of plugin packages runs a tiny model."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    plugins = installed_plugins()
    versions |= {plugin.package: plugin.version for plugin in plugins}
    for library, version in av.library_versions.items():
        if library in ("libavcodec", "libavformat"):
            versions[library] = ".".join(map(str, version))
    own = [name for name in onnxruntime.get_available_providers() if name != AZURE]
    providers = tuple(check_provider(name) for name in (*own, *(plugin.short_name for plugin in plugins)))
    decoders = {name: _decoder(name) for name in _DECODERS}
    encoder = next((name for name in H264_ENCODERS if name in av.codecs_available), None)
    native = operators_state()
    return Diagnosis(
        versions,
        usable_cores(),
        providers,
        native,
        decoders,
        encoder,
        tuple(_advice(versions, providers, native, decoders, encoder)),
    )


def check_provider(name: str) -> ProviderCheck:
    """Run ``Relu`` on the provider, named as for ``--provider``; a session that quietly went to the CPU failed."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    x = np.array([-1.0, 0.0, 1.0, 2.0], np.float32)
    try:
        _, session = first_that_loads(name, lambda provider: provider.session(tiny_model(), options))
        (y,) = session.run(None, {"x": x})
    except ArsegError as error:
        return ProviderCheck(name, False, str(error))
    except Exception as error:  # whatever a provider's libraries throw is the answer to the question
        return ProviderCheck(name, False, reason_of(error))
    if not np.array_equal(y, np.maximum(x, 0)):
        return ProviderCheck(name, False, f"computes Relu({x.tolist()}) as {np.asarray(y).tolist()}")
    return ProviderCheck(name, True, None)


def _decoder(name: str) -> str:
    if name == "av1":
        present = any(each in av.codecs_available for each in ("av1", "libdav1d", "libaom-av1"))
    else:
        present = name in av.codecs_available
    if not present:
        return "missing"
    return "motion vectors" if name in VECTOR_CODECS else "pictures only"


def _advice(
    versions: dict[str, str],
    providers: tuple[ProviderCheck, ...],
    native: NativeState,
    decoders: dict[str, str],
    encoder: str | None,
) -> list[str]:
    advice = []
    if not any(check.works for check in providers):
        advice.append(f'no provider works: pip install --force-reinstall "arseg-edge[cpu]" ({sys.executable})')
    if "onnxruntime" in versions and "onnxruntime-gpu" in versions:
        advice.append("onnxruntime and onnxruntime-gpu are both installed and overwrite each other: keep one")
    for check in providers:
        if not check.works and check.name in (CPU, CUDA):
            advice.append(f"{check.name} fails: {check.reason}")
    if not native.enabled:
        advice.append(f"native library off: {native.reason}")
    if decoders["h264"] == "missing":
        advice.append("no H.264 decoder: install PyAV from its own wheels (pip install --force-reinstall av)")
    if encoder is None:
        advice.append("no H.264 encoder: `run` cannot write overlay videos; install PyAV from its own wheels")
    return advice
