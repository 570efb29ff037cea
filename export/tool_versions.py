"""Which versions made a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata


def tool_versions(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of those of the packages that are installed."""
    installed = {each.name: each.version for each in metadata.distributions()}
    return {name: installed[name] for name in names if name in installed}
