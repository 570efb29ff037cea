"""What Hugging Face's files beside a model say: ``preprocessor_config.json`` and ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from arseg_edge.checked_json import read_json
from arseg_edge.errors import ModelError

PREPROCESSOR: Final = "preprocessor_config.json"
CONFIG: Final = "config.json"
_SMOOTH: Final = (2, 3)
"""Pillow's codes of bilinear and bicubic, both of which average what they make smaller."""


@dataclass(frozen=True)
class Beside:
    """All None where the files say nothing of it."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    scale: float | None = None
    bgr: bool | None = None
    size: tuple[int, int] | None = None
    """(height, width) that pictures are stretched to."""
    antialias: bool | None = None
    names: tuple[str, ...] | None = None
    """Of the classes."""
    files: tuple[str, ...] = ()
    """That were read."""


def read_beside(model: Path) -> Beside:
    """Return what the files in the model's folder say.

    Raises:
        ModelError: one of them is not what it should be.
    """
    rules = _read(model.with_name(PREPROCESSOR))
    config = _read(model.with_name(CONFIG))
    files = tuple(name for name, found in ((PREPROCESSOR, rules), (CONFIG, config)) if found is not None)
    found: dict[str, Any] = {}
    if rules is not None:
        found |= _rules(model.with_name(PREPROCESSOR), rules)
    if config is not None:
        found["names"] = _names(model.with_name(CONFIG), config)
    return Beside(**found, files=files)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}): check its permissions, or move it away") from None
    except ValueError as error:
        raise ModelError(f"{path}: not JSON ({error}): correct it, or move it away") from None


def _rules(path: Path, rules: Mapping[str, Any]) -> dict[str, Any]:
    normalises, rescales = bool(rules.get("do_normalize", True)), bool(rules.get("do_rescale", True))
    found: dict[str, Any] = {"bgr": bool(rules.get("do_flip_channel_order", False))}
    if not rescales:
        found["scale"] = 1.0
    elif "rescale_factor" in rules or "do_rescale" in rules or "image_mean" in rules:
        found["scale"] = _numbers(path, "rescale_factor", [rules.get("rescale_factor", 1 / 255)])[0]
    if not normalises:
        found |= {"mean": (0.0,), "std": (1.0,)}
    elif "image_mean" in rules or "image_std" in rules:
        found["mean"] = _numbers(path, "image_mean", rules.get("image_mean"))
        found["std"] = _numbers(path, "image_std", rules.get("image_std"))
    if rules.get("do_resize", True) and rules.get("size") is not None:
        found["size"] = _size(path, rules["size"])
        found["antialias"] = rules.get("resample", 2) in _SMOOTH
    return found


def _numbers(path: Path, key: str, value: Any) -> tuple[float, ...]:
    values = [value] if isinstance(value, (int, float)) else value
    if not isinstance(values, list) or not values or not all(type(each) in (int, float) for each in values):
        raise ModelError(f"{path}: {key} is {value!r}, not numbers: correct it, or give --mean, --std and --scale")
    return tuple(float(each) for each in values)


def _size(path: Path, size: Any) -> tuple[int, int] | None:
    if type(size) is int:
        return size, size
    if isinstance(size, dict) and type(size.get("height")) is int and type(size.get("width")) is int:
        return size["height"], size["width"]
    if isinstance(size, dict) and size.keys() & {"shortest_edge", "longest_edge", "max_height", "max_width"}:
        return None  # proportions are kept: a frame's own size is as good as any
    raise ModelError(f"{path}: size is {str(size)[:100]}, which says no height and width: give --size HxW, or any")


def _names(path: Path, config: Mapping[str, Any]) -> tuple[str, ...] | None:
    labels = config.get("id2label")
    if labels is None:
        return None
    try:
        by_id = {int(key): name for key, name in labels.items()}
    except (AttributeError, ValueError):
        by_id = {}
    if sorted(by_id) != list(range(len(by_id))) or not by_id or not all(isinstance(n, str) for n in by_id.values()):
        raise ModelError(f"{path}: id2label does not name classes 0, 1, 2, …: correct it, or give --classes")
    return tuple(by_id[index] for index in range(len(by_id)))
