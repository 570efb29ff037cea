"""What a bundle says about itself: everything that a device needs, and nothing about paths.

``manifest.json`` is a :class:`Manifest`, key for key. The same facts stand, shortened, in the ONNX files'
``metadata_props``, so that another program can use a graph alone.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from arseg_edge.errors import BundleError
from arseg_edge.operators import Chaining, Sampling

FORMAT_VERSION = 1

T = TypeVar("T")


@dataclass(frozen=True)
class ClassInfo:
    """One class: its name and its colour (R, G, B), each 0 … 255."""

    name: str
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of (R, G, B), for values in 0 … 1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Feature:
    """The tensor before the last layer: [1, channels, about H/stride, about W/stride]."""

    channels: int
    stride: int


@dataclass(frozen=True)
class Motion:
    """What the graph's ``motion`` means, and how the runtime makes it."""

    unit: Literal["pixel"]
    order: Literal["dx, dy"]
    direction: Literal["frame to keyframe"]
    sampling: Sampling
    chaining: Chaining


@dataclass(frozen=True)
class LowResolution:
    """One LR branch: int(H·scale) × int(W·scale) pixels, and the member that runs it."""

    scale: float
    member: str


@dataclass(frozen=True)
class Operator:
    """A custom operator that the graphs use; each has its body inside the graph."""

    domain: str
    name: str
    version: int


@dataclass(frozen=True)
class Member:
    """A file in the bundle."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class ParityFigure:
    """One comparison of PyTorch and ONNX Runtime, made at export.

    ``error`` is the largest difference relative to the largest magnitude, or, for labels, the share of
    pixels that differ.
    """

    member: str
    stage: str
    input: str
    size: tuple[int, int]
    error: float
    tolerance: float


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates a frame at ``size`` (height, width); ``lr`` and ``creff`` by LR scale."""

    size: tuple[int, int]
    hr: int
    lr: dict[str, int]
    creff: int

    def saving(self, scale: float, interval: int) -> float:
        """Return the share of multiply-accumulates saved against HR on every frame (paper, section 4)."""
        spent = self.hr + (interval - 1) * (self.lr[f"{scale:g}"] + self.creff)
        return 1.0 - spent / (interval * self.hr)


@dataclass(frozen=True)
class Sources:
    """SHA-256 of the checkpoints; ``lr`` by LR scale. Empty for weights that came from no file."""

    hr: str
    lr: dict[str, str]


@dataclass(frozen=True)
class Manifest:
    """A bundle's ``manifest.json``; sizes are (height, width)."""

    format_version: int
    family: str
    classes: tuple[ClassInfo, ...]
    size: tuple[int, int] | None
    smallest_size: tuple[int, int]
    largest_size: tuple[int, int]
    normalisation: Normalisation
    feature: Feature
    kernel_size: int
    interval: int
    motion: Motion
    scales: tuple[LowResolution, ...]
    opset: int
    operators: tuple[Operator, ...]
    oldest_onnxruntime: str
    tools: dict[str, str]
    sources: Sources
    parity: tuple[ParityFigure, ...]
    macs: Macs
    members: dict[str, Member]

    def low_resolution(self, scale: float | None) -> LowResolution:
        """Return the branch for ``scale``; None stands for the first, the bundle's own choice."""
        if scale is None:
            return self.scales[0]
        for branch in self.scales:
            if abs(branch.scale - scale) < 1e-6:
                return branch
        have = ", ".join(f"{branch.scale:g}" for branch in self.scales)
        raise BundleError(f"no LR branch for scale {scale:g}: this bundle has {have}")

    def to_json(self) -> str:
        """Return the text of ``manifest.json``."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def parse_manifest(text: str | bytes, name: str) -> Manifest:
    """Return the manifest in ``text``; ``name`` is the bundle, for messages.

    Raises:
        BundleError: not JSON, another format version, a key missing, or a value of the wrong kind.
    """
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name}: manifest.json is not JSON ({error}): export the bundle again") from None
    if not isinstance(data, dict):
        raise BundleError(f"{name}: manifest.json is not an object: export the bundle again")
    version = data.get("format_version")
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{name}: bundle format {version!r} is not {FORMAT_VERSION}, the one that this version reads: "
            "update arseg-edge, or export the bundle again"
        )
    manifest = _decode(Manifest, data, name, "manifest.json")
    if not manifest.scales or not manifest.classes:
        raise BundleError(f"{name}: manifest.json names no classes or no LR scales: export the bundle again")
    if manifest.interval < 1 or not all(0 < branch.scale <= 1 for branch in manifest.scales):
        raise BundleError(
            f"{name}: manifest.json has interval {manifest.interval} and LR scales "
            f"{[branch.scale for branch in manifest.scales]}, which cannot be: export the bundle again"
        )
    return manifest


def _refuse_constant(constant: str) -> float:
    """Refuse NaN and Infinity, which Python writes and reads and JSON does not have."""
    raise ValueError(f"{constant} is no number in JSON")


def _decode(kind: type[T], value: object, name: str, where: str) -> T:
    """Return ``value`` (parsed JSON) as ``kind``, a dataclass, checking every key and type on the way."""

    def fail(expected: str) -> BundleError:
        shown = repr(value) if len(repr(value)) < 60 else repr(value)[:57] + "..."
        return BundleError(f"{name}: {where} is {shown}, not {expected}: export the bundle again")

    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    result: Any
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise fail("an object")
        hints = typing.get_type_hints(kind)
        missing = [key for key in hints if key not in value]
        if missing:
            raise BundleError(f"{name}: {where} lacks {', '.join(missing)}: export the bundle again")
        result = kind(**{key: _decode(hints[key], value[key], name, f"{where}: {key}") for key in hints})
    elif origin in (typing.Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        result = None if value is None else _decode(inner, value, name, where)
    elif origin is Literal:
        if value not in arguments:
            raise fail(" or ".join(map(repr, arguments)))
        result = value
    elif origin is tuple:
        if not isinstance(value, list):
            raise fail("a list")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            raise fail(f"a list of {len(kinds)}")
        result = tuple(_decode(each, item, name, where) for each, item in zip(kinds, value, strict=True))
    elif origin is dict:
        if not isinstance(value, Mapping):
            raise fail("an object")
        result = {key: _decode(arguments[1], item, name, f"{where}: {key}") for key, item in value.items()}
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        result = float(value)
    elif isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        result = value
    else:
        raise fail(f"a value of type {kind.__name__}")
    return typing.cast(T, result)
