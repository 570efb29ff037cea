"""What a bundle says about itself: everything that a device needs, and nothing about paths.

``manifest.json`` is a :class:`Manifest`, key for key; what a value may be stands with its field. The same facts
stand, shortened, in the ONNX files' ``metadata_props``, so that another program can use a graph alone.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated, Literal

from arseg_edge.checked_json import Between, Count, Matching, Printable, decode, read_json, shown
from arseg_edge.errors import BundleError
from arseg_edge.operators import Chaining, Sampling

FORMAT_VERSION = 2
"""What is written. In format 2 the graphs take sizes as inputs: the labels', and the frame's beside its motion, which
may lie on any grid; they give their logits and features, and LR's last layer is a graph of its own, too
(``export/graph_ends.py``). In format 1 labels and motion have the frame's size."""

_READ = (1, 2)

LARGEST_MANIFEST = 1 << 20
"""Bytes of ``manifest.json``."""

LARGEST_TOLERANCE = 0.25
"""More than this would let anything pass."""

Name = Annotated[str, Printable()]
Side = Annotated[int, Between(1, 65535)]
Size = tuple[Side, Side]
"""(height, width) in pixels."""
Byte = Annotated[int, Between(0, 255)]
Version = Annotated[int, Between(1, 1000)]
Work = Annotated[int, Between(1, 1 << 60)]
"""Multiply-accumulates."""
Sha256 = Annotated[str, Matching("[0-9a-f]{64}", "a SHA-256 of 64 small hexadecimal digits")]
SourceDigest = Annotated[str, Matching("|[0-9a-f]{64}", "a SHA-256 of 64 small hexadecimal digits, or empty")]
Mean = Annotated[float, Between(-1000, 1000)]
Deviation = Annotated[float, Between(1e-6, 1000)]


@dataclass(frozen=True)
class ClassInfo:
    """One class: its name and its colour (R, G, B), each 0 … 255."""

    name: Name
    colour: tuple[Byte, Byte, Byte]


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of (R, G, B), for values in 0 … 1."""

    mean: tuple[Mean, Mean, Mean]
    std: tuple[Deviation, Deviation, Deviation]


@dataclass(frozen=True)
class Feature:
    """The tensor before the last layer: [1, channels, about H/stride, about W/stride]."""

    channels: Annotated[int, Between(1, 65536)]
    stride: Annotated[int, Between(1, 1024)]


@dataclass(frozen=True)
class LabelRule:
    """How labels are made of the graphs' ``logits`` [1, n, h, w]: see ``export/operators/segmentation_labels.py``."""

    upscale: Annotated[int, Between(1, 64)]
    align_corners: bool


@dataclass(frozen=True)
class MotionRule:
    """What the graph's ``motion`` [1, a, b, 2] means, and how the runtime makes it.

    A ``cell`` is one step of the motion's own grid, a×b: on a grid of the frame's size a pixel, on one of half the size
    two. It reaches the keyframe's feature [1, C, h, w] as ``sampling`` says: ``consistent`` multiplies dx by w/b and dy
    by h/a; ``published`` both by h/a, so that on a grid of another shape than the frame's dx must be given in cells
    of H/a pixels, as dy is. Bundles of format 1 have ``pixel``, and a×b is the frame's size.
    """

    unit: Literal["pixel", "cell"]
    order: Literal["dx, dy"]
    direction: Literal["frame to keyframe"]
    sampling: Sampling
    chaining: Chaining


@dataclass(frozen=True)
class LowResolution:
    """One LR branch: int(H·scale) × int(W·scale) pixels, and the member that runs it."""

    scale: Annotated[float, Between(0.05, 1)]
    member: Name

    @property
    def head(self) -> str:
        """The member of format 2 that makes labels of this branch's feature, without the fusion."""
        return f"head{self.member.removeprefix('nonkeyframe')}"


@dataclass(frozen=True)
class Operator:
    """A custom operator that the graphs use; each has its body inside the graph."""

    domain: Name
    name: Name
    version: Version


@dataclass(frozen=True)
class Member:
    """A file in the bundle."""

    bytes: Annotated[int, Between(0, 1 << 31)]
    sha256: Sha256


@dataclass(frozen=True)
class ParityFigure:
    """One comparison of PyTorch and ONNX Runtime, made at export.

    ``error`` is the largest difference relative to the largest magnitude, or, for labels, the share of
    pixels that differ; beyond ``tolerance`` there would be no bundle.
    """

    member: Name
    stage: Name
    input: Name
    size: Size
    error: Annotated[float, Between(0, LARGEST_TOLERANCE)]
    tolerance: Annotated[float, Between(0, LARGEST_TOLERANCE)]


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates a frame at ``size`` (height, width); ``lr`` and ``creff`` by LR scale."""

    size: Size
    hr: Work
    lr: dict[Name, Work]
    creff: Work

    def saving(self, scale: float, interval: int) -> float:
        """Return the share of multiply-accumulates saved against HR on every frame (paper, section 4)."""
        spent = self.hr + (interval - 1) * (self.lr[f"{scale:g}"] + self.creff)
        return 1.0 - spent / (interval * self.hr)


@dataclass(frozen=True)
class Sources:
    """SHA-256 of the checkpoints; ``lr`` by LR scale. Empty for weights that came from no file."""

    hr: SourceDigest
    lr: dict[Name, SourceDigest]


@dataclass(frozen=True)
class Manifest:
    """A bundle's ``manifest.json``; sizes are (height, width)."""

    format_version: int
    family: Name
    classes: Annotated[tuple[ClassInfo, ...], Count(1, 256)]
    size: Size | None
    smallest_size: Size
    largest_size: Size
    normalisation: Normalisation
    feature: Feature
    label_rule: LabelRule | None
    """None in format 1, whose graphs do not give their logits."""
    kernel_size: Annotated[int, Between(1, 63)]
    interval: Annotated[int, Between(1, 100_000)]
    motion: MotionRule
    scales: Annotated[tuple[LowResolution, ...], Count(1, 16)]
    opset: Version
    operators: Annotated[tuple[Operator, ...], Count(0, 64)]
    oldest_onnxruntime: Annotated[str, Matching(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}", "a version, such as 1.17")]
    tools: Annotated[dict[Name, Name], Count(0, 64)]
    sources: Sources
    parity: Annotated[tuple[ParityFigure, ...], Count(1, 4096)]
    macs: Macs
    members: Annotated[dict[Name, Member], Count(1, 64)]

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
        BundleError: not JSON, another format version, a key missing or there twice, or a value of the wrong kind or
            outside its range; the message names the key.
    """
    if len(text) > LARGEST_MANIFEST:
        raise BundleError(f"{name}: manifest.json is longer than {LARGEST_MANIFEST} bytes: export the bundle again")
    try:
        data = read_json(text)
    except ValueError as error:
        raise BundleError(f"{name}: manifest.json is not JSON ({error}): export the bundle again") from None
    version = data.get("format_version")
    if type(version) is not int or version not in _READ:
        raise BundleError(
            f"{name}: bundle format {shown(version)} is none of those that this version reads "
            f"({_READ[0]} to {_READ[-1]}): update arseg-edge, or export the bundle again"
        )
    try:
        manifest = decode(Manifest, {"label_rule": None, **data} if version == 1 else data, "manifest.json")
        _check_together(manifest)
    except ValueError as error:
        raise BundleError(f"{name}: {error}: export the bundle again") from None
    return manifest


def _check_together(manifest: Manifest) -> None:
    """Check what no field can know of itself.

    Raises:
        ValueError: with the key.
    """
    unit = "pixel" if manifest.format_version == 1 else "cell"
    if manifest.motion.unit != unit:
        raise ValueError(
            f"manifest.json: motion: unit is {manifest.motion.unit!r}, not {unit!r}, which bundle format "
            f"{manifest.format_version} has"
        )
    if (manifest.label_rule is None) != (manifest.format_version == 1):
        raise ValueError("manifest.json: label_rule is there in bundle format 2, and in no other")
    smallest, largest, size = manifest.smallest_size, manifest.largest_size, manifest.size
    for low, high in zip(smallest, largest, strict=True):
        if low > high:
            raise ValueError(f"manifest.json: smallest_size is {smallest}, above largest_size {largest}")
    for low, side, high in zip(smallest, size or smallest, largest, strict=True):
        if not low <= side <= high:
            raise ValueError(f"manifest.json: size is {size}, outside smallest_size {smallest} to {largest}")
    scales = [f"{branch.scale:g}" for branch in manifest.scales]
    for position, (scale, branch) in enumerate(zip(scales, manifest.scales, strict=True)):
        if scale in scales[:position]:
            raise ValueError(f"manifest.json: scales has {scale} twice")
        if branch.member in (each.member for each in manifest.scales[:position]):
            raise ValueError(f"manifest.json: scales has the member {branch.member!r} twice")
        if scale not in manifest.macs.lr:
            raise ValueError(f"manifest.json: macs: lr lacks {scale}, which scales has")
