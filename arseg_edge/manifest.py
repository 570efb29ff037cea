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
class ConvertedInput:
    """How the graph of a converted model makes of a frame what that model takes, channel by channel.

    The frame is resized, bilinearly with half-pixel centres, to ``size``, or each side to the nearest whole
    ``multiple``. ``stretch`` gives it other proportions where it must. ``letterbox`` keeps them and fills the rest,
    half of it on each side, with ``fill``; to multiples, it makes nothing larger or smaller. Then
    (value · ``scale`` − ``mean``) / ``std``, for values 0 … 255.
    """

    size: Size | None
    """The one that the model takes; None: any whole multiples."""
    multiple: Annotated[int, Between(1, 4096)]
    resize: Literal["stretch", "letterbox"]
    antialias: bool
    """Whether what is made smaller is averaged, as Pillow does."""
    channels: Literal["rgb", "bgr", "grey", "grey+alpha", "rgb+alpha", "bgr+alpha"]
    """``grey`` is the luma of BT.601, and ``alpha`` 255 everywhere."""
    fill: Byte
    scale: Annotated[float, Between(0, 1000)]
    mean: Annotated[tuple[Mean, ...], Count(1, 4)]
    std: Annotated[tuple[Deviation, ...], Count(1, 4)]
    output: Name
    """The model's output that the labels are made of."""


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
    creff: Work | None
    """None where there is no LR."""

    def lr_frame(self, scale: float) -> int:
        """Return those of a frame that LR sees, with the fusion."""
        return self.lr[f"{scale:g}"] + (self.creff or 0)

    def saving(self, scale: float, interval: int) -> float:
        """Return the share of multiply-accumulates saved against HR on every frame (paper, section 4)."""
        spent = self.hr + (interval - 1) * self.lr_frame(scale)
        return 1.0 - spent / (interval * self.hr)


@dataclass(frozen=True)
class Sources:
    """SHA-256 of the checkpoints; ``lr`` by LR scale. Empty for weights that came from no file."""

    hr: SourceDigest
    lr: dict[Name, SourceDigest]


@dataclass(frozen=True)
class QuantisedGraph:
    """How one graph runs in eight bits."""

    method: Literal["minmax", "percentile", "mse"]
    """How the ranges of its values were chosen (``export/quantize/ranges.py``)."""
    layers: Annotated[int, Between(0, 1 << 16)]
    """Layers with weights that run in eight bits."""
    float_layers: Annotated[tuple[Name, ...], Count(0, 1 << 12)]
    """Layers that went back to float, since they hurt most."""
    agreement: Annotated[float, Between(0, 100)]
    """Percent of the pixels, on pictures held back from calibration, that have the label of the float graphs."""


@dataclass(frozen=True)
class Quantisation:
    """What ``arseg-edge quantize`` did: activations are uint8, weights int8 of ``weight_bits`` for each channel."""

    weight_bits: Annotated[int, Between(2, 8)]
    sources: Annotated[tuple[Name, ...], Count(1, 64)]
    """Names of the videos and folders that it was calibrated on, without paths."""
    frames: Annotated[int, Between(1, 1 << 20)]
    """How many of their frames."""
    pairs: Annotated[int, Between(0, 1 << 20)]
    """How many of these follow a keyframe: LR was calibrated on them."""
    held_back: Annotated[int, Between(1, 1 << 20)]
    """Frames that the agreement was measured on."""
    wanted: Annotated[float, Between(0, 100)]
    """The agreement that was asked for, in percent."""
    graphs: dict[Name, QuantisedGraph]
    """By member."""


@dataclass(frozen=True)
class Manifest:
    """A bundle's ``manifest.json``; sizes are (height, width).

    A bundle may hold HR alone: then ``scales`` is empty, and what belongs to LR and its fusion is None: ``motion``,
    ``kernel_size``, the multiply-accumulates, and mostly ``feature``, which only a fusion needs.
    """

    format_version: int
    family: Name
    classes: Annotated[tuple[ClassInfo, ...], Count(1, 256)]
    size: Size | None
    smallest_size: Size
    largest_size: Size
    normalisation: Normalisation | None
    """None of a converted model, of which ``converted`` says more."""
    feature: Feature | None
    label_rule: LabelRule | None
    """None where the graphs do not give their logits: in format 1, and where a converted model has none to give."""
    kernel_size: Annotated[int, Between(1, 63)] | None
    interval: Annotated[int, Between(1, 100_000)]
    motion: MotionRule | None
    scales: Annotated[tuple[LowResolution, ...], Count(0, 16)]
    opset: Version
    operators: Annotated[tuple[Operator, ...], Count(0, 64)]
    oldest_onnxruntime: Annotated[str, Matching(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}", "a version, such as 1.17")]
    tools: Annotated[dict[Name, Name], Count(0, 64)]
    sources: Sources
    parity: Annotated[tuple[ParityFigure, ...], Count(1, 4096)]
    macs: Macs
    members: Annotated[dict[Name, Member], Count(1, 64)]
    converted: ConvertedInput | None = None
    """Of a bundle made by ``arseg-edge convert``."""
    quantisation: Quantisation | None = None
    """Of a bundle made by ``arseg-edge quantize``; ``parity`` then compares the integers with the graphs as the ONNX
    standard defines them, not with PyTorch."""

    @property
    def has_lr(self) -> bool:
        """Whether there is an LR network, with its fusion, beside HR."""
        return bool(self.scales)

    @property
    def chaining(self) -> Chaining:
        """How motion is chained to the keyframe; without LR nothing but the finding of keyframes hangs on it."""
        return "subpixel" if self.motion is None else self.motion.chaining

    def low_resolution(self, scale: float | None) -> LowResolution:
        """Return the branch for ``scale``; None stands for the first, the bundle's own choice."""
        if not self.scales:
            raise BundleError("no LR network: this bundle has HR alone")
        if scale is None:
            return self.scales[0]
        for branch in self.scales:
            if abs(branch.scale - scale) < 1e-6:
                return branch
        have = ", ".join(f"{branch.scale:g}" for branch in self.scales)
        raise BundleError(f"no LR branch for scale {scale:g}: this bundle has {have}")

    def to_json(self) -> str:
        """Return the text of ``manifest.json``; what few bundles have stands there where it is."""
        entries = dataclasses.asdict(self)
        for key in ("converted", "quantisation"):
            if entries[key] is None:
                del entries[key]
        return json.dumps(entries, indent=2) + "\n"


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
    old = manifest.format_version == 1
    unit = "pixel" if old else "cell"
    if manifest.motion is not None and manifest.motion.unit != unit:
        raise ValueError(
            f"manifest.json: motion: unit is {manifest.motion.unit!r}, not {unit!r}, which bundle format "
            f"{manifest.format_version} has"
        )
    if old and manifest.label_rule is not None:
        raise ValueError("manifest.json: label_rule is there in bundle format 2, and in no other")
    if manifest.label_rule is None and not old and manifest.has_lr:
        raise ValueError("manifest.json: label_rule is null, though the networks give their logits")
    if (manifest.normalisation is None) != (manifest.converted is not None):
        raise ValueError("manifest.json: normalisation is there, or converted, and not both")
    for member in () if manifest.quantisation is None else manifest.quantisation.graphs:
        if member not in manifest.members:
            raise ValueError(f"manifest.json: quantisation: graphs has {member!r}, which members lacks")
    if old and not manifest.has_lr:
        raise ValueError("manifest.json: scales has 0 entries, and bundle format 1 has at least one")
    of_lr = {
        "kernel_size": manifest.kernel_size,
        "motion": manifest.motion,
        "macs: creff": manifest.macs.creff,
        **({"feature": manifest.feature} if manifest.has_lr else {}),
    }
    for key, value in of_lr.items():
        if (value is not None) != manifest.has_lr:
            beside = "null beside scales" if value is None else "there, but scales has no entry"
            raise ValueError(f"manifest.json: {key} is {beside}")
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
