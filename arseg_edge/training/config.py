"""Settings from flags and from a YAML file, and back into one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from arseg_edge.bundle import SUFFIX, read_bundle
from arseg_edge.errors import UsageError
from arseg_edge.training.setting_table import SETTINGS
from arseg_edge.training.settings import EDGE, LrSettings, S


def read_settings(kind: type[S], flags: Mapping[str, object], config: Path | None = None) -> S:
    """Return the settings of flags, over those of a YAML file, over those of the family's recipe.

    Args:
        kind: ``HrSettings`` or ``LrSettings``.
        flags: by name, as text, or as YAML would have them.
        config: the YAML file, a mapping from names to values.

    Raises:
        UsageError: a name or a value that is none, with the file or flag that has it; no data set; a file that
            cannot be read.
        BundleError: a teacher that is a broken bundle.
    """
    known = [each.name for each in fields(kind)]
    given: dict[str, Any] = {}
    for key, value in ({} if config is None else read_mapping(config)).items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"settings are {', '.join(known)}"
            raise UsageError(f"{config}: {key}: no setting of train {kind.name}: {hint}")
        given[key] = _parsed(key, value, f"{config}: {key}: {value!r}")
    for name, value in flags.items():
        given[name] = _parsed(name, value, f"{flag_of(name)} {shown(value)}")
    settings = kind.of(given.pop("family", None) or _family_of_teacher(given.get("hr")), **given)
    if not settings.sources:
        raise UsageError(
            "nothing to train on: give --videos, a folder of videos without labels, or --data, a data set with labels"
            if kind is LrSettings
            else "no data set to train on: give --data, such as --data ../camvid:train"
        )
    if isinstance(settings, LrSettings) and settings.hr is None:
        raise UsageError("no teacher: give --hr, the checkpoint that train hr made, or a bundle")
    return settings


def _family_of_teacher(hr: Path | None) -> str:
    """Return the family that counts where none is named: that of a bundle of PyTorch's networks, or else ``edge``."""
    if hr is None or hr.suffix != SUFFIX:
        return EDGE
    manifest = read_bundle(hr).manifest
    return EDGE if manifest.converted is not None else manifest.family


def flag_of(name: str) -> str:
    """Return the flag of a setting."""
    return f"--{name.replace('_', '-')}"


def shown(value: object) -> str:
    """Return the text of a flag's value."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _parsed(name: str, value: object, where: str) -> Any:
    try:
        return SETTINGS[name].kind.parse(value)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def read_mapping(path: Path) -> dict[str, object]:
    """Return what a YAML file holds.

    Raises:
        UsageError: it cannot be read, or holds something else than a mapping.
    """
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError(f'{path}: PyYAML is needed to read it: pip install "arseg-edge[train]"') from None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: give a YAML file of settings") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8
        raise UsageError(f"{path}: not YAML ({' '.join(str(error).split())}): correct it") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: holds {type(content).__name__}, not settings: write, for example, epochs: 100")
    return content
