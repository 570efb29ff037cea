"""From checkpoints to a bundle: load, export, compare, write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import cast

import onnx
import torch

from arseg_edge.bundle import (
    GOLDEN,
    KEYFRAME,
    SUFFIX,
    Bundle,
    check_writable,
    nonkeyframe_member,
    write_bundle,
)
from arseg_edge.checked_json import check
from arseg_edge.errors import SizeError, UsageError
from arseg_edge.export.bundle_weights import read_hr
from arseg_edge.export.checkpoint import (
    Checkpoint,
    CheckpointSource,
    family_of,
    load_ar,
    load_hr,
    read_checkpoint,
)
from arseg_edge.export.clips import random_clip, resized_clip, structured_clip
from arseg_edge.export.families import Family
from arseg_edge.export.graph_ends import IMAGE, LOGITS, LR_FEATURE, put_keyframe_ends, put_nonkeyframe_ends
from arseg_edge.export.graphs import KeyframeGraph, NonkeyframeGraph
from arseg_edge.export.half_weights import store_half
from arseg_edge.export.head import head_of
from arseg_edge.export.macs import count_macs
from arseg_edge.export.models import FusionNetwork, SegmentationNetwork
from arseg_edge.export.onnx_file import OLDEST_ONNXRUNTIME, to_onnx
from arseg_edge.export.operators.bodies import operators_of
from arseg_edge.export.operators.function import OPSET
from arseg_edge.export.own_forward import check_forward
from arseg_edge.export.parity import ExportedNetwork, compare, golden_clip, parity_tolerance, refuse_beyond_tolerance
from arseg_edge.export.tool_versions import tool_versions
from arseg_edge.export.untrained import untrained_ar
from arseg_edge.lr_size import lr_size
from arseg_edge.manifest import (
    FORMAT_VERSION,
    ClassInfo,
    Feature,
    LabelRule,
    LowResolution,
    Manifest,
    MotionRule,
    Normalisation,
    Operator,
    ParityFigure,
    Sources,
)

SMALLEST_SIDE, LARGEST_SIDE = 32, 8192
SCALES = (0.3, 0.9)
LARGEST_INTERVAL = 100_000
_DYNAMIC_EXAMPLE = (64, 96)
# The second is odd in one direction and no multiple of 8 in either; neither is the size of the example.
_DYNAMIC_PARITY_SIZES = ((96, 128), (135, 214))
_CLIPS = (random_clip, structured_clip, resized_clip)
_MACS_SIZE = (720, 960)
_TOOLS = ("arseg-edge", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu")

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how many of how many steps are behind."""

LrSource = CheckpointSource | Mapping[float, CheckpointSource]
_LrSources = Mapping[float, CheckpointSource | None]
"""By scale; None for an LR network that no training made."""


def export_bundle(
    family: str | Family | None,
    *,
    hr: CheckpointSource,
    lr: LrSource | None = None,
    out: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
    scale: float | Sequence[float] = 0.5,
    interval: int = 12,
    half_weights: bool = False,
    untrained: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Turn HR and LR + CReFF weights into one bundle, and return it.

    Args:
        family: a published family's name, one of your own (also as ``"package.module:attribute"``), or None to
            recognise it from the weights' names.
        hr: the HR checkpoint: a ``.pth``, ``.pt`` or ``.safetensors`` file, or a state dict; or a bundle, whose HR
            network it is.
        lr: the LR + CReFF checkpoint likewise; ``{scale: checkpoint}`` for several LR scales, each with
            weights of its own; None with ``untrained``.
        out: the bundle to write, ``NAME.arseg``.
        size: (height, width) of the frames, or None for any size.
        scale: the LR scale or scales, 0.3 … 0.9, where ``lr`` does not name them; the first is the default.
        interval: the keyframe interval that the bundle recommends.
        half_weights: store weights in half precision (``half_weights.py``): half the size, and a tolerance
            of 4e-3 in place of 1e-3.
        untrained: for a first trial without an LR checkpoint: LR has HR's weights, and a fusion that needs no training
            (``untrained.py``).
        progress: is told how far things are.

    Raises:
        UsageError: a scale, an interval or a name that makes no sense.
        SizeError: a size that cannot be exported.
        CheckpointError: weights that cannot be read or that fit no family.
        OperatorError: PyTorch cannot export a network, or ONNX Runtime not run it.
        ParityError: ONNX Runtime's results differ from PyTorch's, or labels from the network's own ``forward``; no
            bundle is written.
        OutputError: the bundle cannot be written.

    Example::

        bundle = export_bundle("camvid-bise18", hr="HR.pth", lr="AR.pth", out="street.arseg")
        print(max(figure.error for figure in bundle.parity))
    """
    path = Path(out)
    if path.suffix != SUFFIX:
        raise UsageError(f"{path}: a bundle's name ends in {SUFFIX}: add it")
    if untrained == (lr is not None):
        raise UsageError(
            "untrained, and an LR checkpoint: give one of them"
            if untrained
            else "no LR checkpoint: give lr, or untrained for a first trial without one"
        )
    lr_sources = _by_scale(lr, scale)
    interval = _whole(interval, "keyframe interval", "12")
    if size is not None:
        size = _size(size)
    _check_arguments(size, lr_sources, interval)
    check_writable(path)
    steps = _Steps(progress, total=len(lr_sources) + 8)

    steps.begin("reading checkpoints")
    weights = _read(family, hr, lr_sources)
    found = weights.family
    _check_family(found)
    facts = _facts(found, interval)

    sizes = [size] if size else list(_DYNAMIC_PARITY_SIZES)
    check_forward(
        found, weights.hr, [make(*each).frames[0] for make in _CLIPS for each in sizes], parity_tolerance(half_weights)
    )

    steps.begin("counting multiply-accumulates")
    macs = count_macs(found, size or _MACS_SIZE, list(lr_sources))

    steps.begin(f"exporting {KEYFRAME}")
    models = {KEYFRAME: _keyframe_model(found, weights.hr, size, facts)}
    if half_weights:
        store_half(models[KEYFRAME])
    nonkeyframes: dict[LowResolution, ExportedNetwork] = {}
    for index, (each, network) in enumerate(weights.ar.items()):
        low = LowResolution(each, nonkeyframe_member(each, first=index == 0))
        steps.begin(f"exporting {low.member}")
        model = _nonkeyframe_model(found, network, each, size, {**facts, "arseg.scale": f"{each:g}"})
        if half_weights:
            store_half(model)
        models[low.member] = model
        head = head_of(model).SerializeToString()
        nonkeyframes[low] = ExportedNetwork(low.member, model.SerializeToString(), network, head)
    keyframe = ExportedNetwork(KEYFRAME, models[KEYFRAME].SerializeToString(), weights.hr)

    figures: list[ParityFigure] = []
    for make in _CLIPS:
        clips = [make(*each) for each in sizes]
        steps.begin(f"comparing with PyTorch on {clips[0].name} input")
        figures.extend(compare(found, keyframe, nonkeyframes, clips, half_weights))
    refuse_beyond_tolerance(figures)

    steps.begin("making the golden clip")
    golden = golden_clip(found, keyframe, nonkeyframes, structured_clip(*sizes[0]))

    steps.begin(f"writing {path.name}")
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        family=found.name,
        classes=_classes(found),
        size=size,
        smallest_size=size or (SMALLEST_SIDE, SMALLEST_SIDE),
        largest_size=size or (LARGEST_SIDE, LARGEST_SIDE),
        normalisation=Normalisation(found.mean, found.std),
        feature=Feature(found.channels, found.stride),
        label_rule=LabelRule(**found.label_rule),
        kernel_size=found.kernel_size,
        interval=interval,
        motion=MotionRule("cell", "dx, dy", "frame to keyframe", found.sampling, found.chaining),
        scales=tuple(nonkeyframes),
        opset=OPSET,
        operators=_operators(models.values()),
        oldest_onnxruntime=OLDEST_ONNXRUNTIME,
        tools=tool_versions(_TOOLS),
        sources=weights.sources,
        parity=tuple(figures),
        macs=macs,
        members={},
    )
    members = {each.member: each.model for each in (keyframe, *nonkeyframes.values())}
    members |= {low.head: each.head for low, each in nonkeyframes.items()}
    bundle = write_bundle(path, manifest, {**members, GOLDEN: golden.to_bytes()})
    steps.end()
    return bundle


@dataclass(frozen=True)
class _Weights:
    """What the checkpoints hold: the networks with their weights, the LR ones by scale."""

    family: Family
    hr: SegmentationNetwork
    ar: Mapping[float, FusionNetwork]
    sources: Sources


def _read(family: str | Family | None, hr: CheckpointSource, lr: _LrSources) -> _Weights:
    hr_checkpoint = read_hr(hr, family)
    checkpoints: dict[float, Checkpoint | None] = {
        each: None if source is None else read_checkpoint(source, "lr") for each, source in lr.items()
    }
    first = next(iter(checkpoints.values()))
    found = family_of(family, hr_checkpoint, first)
    network = load_hr(found, hr_checkpoint)
    return _Weights(
        found,
        network,
        {
            each: load_ar(found, checkpoint) if checkpoint else untrained_ar(found, network)
            for each, checkpoint in checkpoints.items()
        },
        Sources(
            hr_checkpoint.sha256 or "",
            {f"{each:g}": (checkpoint and checkpoint.sha256) or "" for each, checkpoint in checkpoints.items()},
        ),
    )


def _keyframe_model(
    family: Family, network: SegmentationNetwork, size: tuple[int, int] | None, facts: Mapping[str, str]
) -> onnx.ModelProto:
    return to_onnx(
        KeyframeGraph(network),
        {IMAGE: torch.zeros(1, 3, *(size or _DYNAMIC_EXAMPLE))},
        outputs=("feature", LOGITS),
        dynamic=None if size else {IMAGE: _axes(2, "height", "width", (SMALLEST_SIDE, LARGEST_SIDE))},
        metadata=facts,
        ends=partial(put_keyframe_ends, family=family),
    )


def _nonkeyframe_model(
    family: Family,
    network: FusionNetwork,
    scale: float,
    size: tuple[int, int] | None,
    facts: Mapping[str, str],
) -> onnx.ModelProto:
    full = size or _DYNAMIC_EXAMPLE
    # Only its shape matters: that of a keyframe's feature at this size.
    with torch.no_grad(), torch.device("meta"):
        shape = family.build_hr().feature(torch.zeros(1, 3, *full)).shape
    sides = int(SMALLEST_SIDE * scale), int(LARGEST_SIDE * scale)
    sized = {} if size else {IMAGE: _axes(2, "lr_height", "lr_width", sides)}
    sized |= {} if size else {"keyframe_feature": _axes(2, "feature_height", "feature_width")}
    return to_onnx(
        NonkeyframeGraph(family, network),
        {
            IMAGE: torch.zeros(1, 3, *lr_size(*full, scale)),
            "keyframe_feature": torch.zeros(shape),
            "motion": torch.zeros(1, *full, 2),
        },
        outputs=(LOGITS, LR_FEATURE),
        dynamic={**sized, "motion": _axes(1, "motion_height", "motion_width")},
        metadata=facts,
        ends=partial(put_nonkeyframe_ends, family=family, scale=scale),
    )


def _axes(first: int, height: str, width: str, sides: tuple[int, int] | None = None) -> dict[int, torch.export.Dim]:
    """Return two open axes from ``first`` on; ``sides`` are their smallest and largest."""
    limits = {} if sides is None else {"min": sides[0], "max": sides[1]}
    return {first: torch.export.Dim(height, **limits), first + 1: torch.export.Dim(width, **limits)}


class _Steps:
    """Counts the steps of an export for whoever wants to show them."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = -1

    def begin(self, what: str) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(what, self._done, self._total)

    def end(self) -> None:
        self.begin("done")


def _by_scale(lr: LrSource | None, scale: float | Sequence[float]) -> _LrSources:
    if isinstance(lr, Mapping) and lr and all(isinstance(key, int | float) for key in lr):
        return {float(key): cast(CheckpointSource, source) for key, source in lr.items()}
    scales = list(scale) if isinstance(scale, Sequence) and not isinstance(scale, str) else [scale]
    for each in scales:
        if isinstance(each, bool) or not isinstance(each, Real):
            raise UsageError(f"LR scale {each!r} is no number: give one from {SCALES[0]} to {SCALES[1]}")
    return {float(each): cast(CheckpointSource | None, lr) for each in scales}


def _whole(value: object, what: str, example: str) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise UsageError(f"{what} {value!r} is no whole number: give one, such as {example}")
    return int(value)


def _size(size: Sequence[int]) -> tuple[int, int]:
    if isinstance(size, str) or not isinstance(size, Sequence) or len(size) != 2:
        raise UsageError(f"size {size!r} is not (height, width): give both, such as (720, 960)")
    height, width = (_whole(side, "size: side", "720") for side in size)
    return height, width


def _check_arguments(size: tuple[int, int] | None, lr: _LrSources, interval: int) -> None:
    if not lr:
        raise UsageError("no LR scale: name at least one, such as 0.5")
    for scale in lr:
        if not SCALES[0] <= scale <= SCALES[1]:
            raise UsageError(f"LR scale {scale:g} is outside {SCALES[0]} … {SCALES[1]}: choose one inside")
        if round(scale, 4) != scale:
            raise UsageError(f"LR scale {scale!r} has more than four digits: round it")
    if not 1 <= interval <= LARGEST_INTERVAL:
        limit = "below 1" if interval < 1 else f"above {LARGEST_INTERVAL}"
        raise UsageError(f"keyframe interval {interval} is {limit}: choose one between, such as 12")
    if size is not None and not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in size):
        raise SizeError(
            f"size {size[0]}x{size[1]} is outside {SMALLEST_SIDE} … {LARGEST_SIDE}: choose height and width inside"
        )


def _check_family(family: Family) -> None:
    """Refuse before the long work what no manifest takes."""
    parts = (*_classes(family), Normalisation(family.mean, family.std), Feature(family.channels, family.stride))
    for part in parts:
        try:
            check(part, f"{family.name}: {type(part).__name__}")
        except ValueError as error:
            raise UsageError(f"{error}: correct the family") from None


def _classes(family: Family) -> tuple[ClassInfo, ...]:
    pairs = zip(family.classes.names, family.classes.colours, strict=True)
    return tuple(ClassInfo(name, colour) for name, colour in pairs)


def _operators(models: Iterable[onnx.ModelProto]) -> tuple[Operator, ...]:
    found = {operator for model in models for operator in operators_of(model)}
    return tuple(sorted(found, key=lambda operator: operator.name))


def _facts(family: Family, interval: int) -> dict[str, str]:
    """Return what another program must know to use a graph alone, for its ``metadata_props``."""
    return {
        **format_facts(),
        "arseg.family": family.name,
        "arseg.classes": ",".join(family.classes.names),
        "arseg.interval": str(interval),
        "arseg.chaining": family.chaining,
        "arseg.sampling": family.sampling,
        "arseg.oldest_onnxruntime": OLDEST_ONNXRUNTIME,
    }


def format_facts() -> dict[str, str]:
    """Return those of them that belong to the bundle's format."""
    return {
        "arseg.format_version": str(FORMAT_VERSION),
        "arseg.motion": "cells of its own grid, (dx, dy), frame to keyframe",
        "arseg.lr_size": "int(height * scale), int(width * scale) of frame_size",
    }
