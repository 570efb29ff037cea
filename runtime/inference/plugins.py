"""Plugin packages: execution providers that come as Python packages of their own, named ``onnxruntime-ep-NAME``.

Newer ONNX Runtimes load them on request, from ``get_library_path()`` of the package, and then list the devices that the
provider can use. Such a package speaks for itself, so there is no list of them here.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module, metadata
from typing import Any, Final, NamedTuple

import onnxruntime

from arseg_edge.errors import ProviderError, reason_of

PREFIX: Final = "onnxruntime-ep-"
"""How the packages' names begin; the rest is the provider's short name."""


class Plugin(NamedTuple):
    """An installed plugin package; nothing of it is loaded yet."""

    short_name: str
    """Such as ``openvino``: what a caller names."""
    version: str

    @property
    def package(self) -> str:
        """Its name for pip."""
        return PREFIX + self.short_name


def installed_plugins() -> list[Plugin]:
    """Return the plugin packages of this environment, by name; none is imported."""
    found = {}
    for distribution in metadata.distributions():
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        if name.startswith(PREFIX):
            found[name] = Plugin(name.removeprefix(PREFIX), distribution.version)
    return [found[name] for name in sorted(found)]


def find_plugin(short_name: str) -> Plugin | None:
    """Return the installed plugin package of this short name, if there is one."""
    try:
        return Plugin(short_name, metadata.version(PREFIX + short_name))
    except (metadata.PackageNotFoundError, ValueError):
        return None


@cache
def plugin_devices(plugin: Plugin) -> tuple[str, tuple[Any, ...]]:
    """Let ONNX Runtime load a plugin; return its provider's name and the devices (``OrtEpDevice``) that it offers.

    Where it offers none it is loaded once more under a name that ends in ``.virtual``: then it offers virtual devices,
    which ONNX Runtime does not see on this machine. Of these a CPU runs; others can only compile, and are left out.

    Raises:
        ProviderError: it does not load, or offers no device here.
    """
    if not hasattr(onnxruntime, "register_execution_provider_library"):
        raise ProviderError(
            f"{plugin.package}: ONNX Runtime {onnxruntime.__version__} takes no plugins: update onnxruntime"
        )
    try:
        module = import_module(plugin.package.replace("-", "_"))
        path, name = str(module.get_library_path()), str(module.get_ep_names()[0])
        for suffix in ("", ".virtual"):
            onnxruntime.register_execution_provider_library(plugin.short_name + suffix, path)
            offered = [each for each in onnxruntime.get_ep_devices() if each.ep_name == name and _runs(each)]
            if offered:
                return name, tuple(offered)
    except Exception as error:  # whatever a package or its libraries throw
        reason = reason_of(error)
        raise ProviderError(f"{plugin.package} {plugin.version} does not load ({reason}): install it again") from error
    raise ProviderError(
        f"{plugin.package} {plugin.version} offers no device on this machine: use another provider, such as cpu"
    )


def device_type(device: Any) -> str:
    """Return ``CPU``, ``GPU`` or ``NPU``."""
    return str(device.device.type.name)


def _runs(device: Any) -> bool:
    return device_type(device) == "CPU" or dict(device.device.metadata).get("is_virtual") != "1"
