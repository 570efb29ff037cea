"""From checkpoints to a bundle: load, export, compare, write."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from arseg_edge.bundle import (
    GOLDEN,
    KEYFRAME,
    SUFFIX,
    Bundle,
    check_writable,
    nonkeyframe_member,
    write_bundle,
)
from arseg_edge.errors import SizeError, UsageError
from arseg_edge.export.checkpoint import (
    Source,
    load_ar,
    load_hr,
    read_checkpoint,
    recognise_family,
)
from arseg_edge.export.clips import random_clip, structured_clip
from arseg_edge.export.families import Family, find_family
from arseg_edge.export.graphs import KeyframeGraph, NonkeyframeGraph
from arseg_edge.export.macs import count_macs
from arseg_edge.export.onnx_file import OLDEST_ONNXRUNTIME, to_onnx
from arseg_edge.export.operators.bodies import operators_of
from arseg_edge.export.operators.function import OPSET
from arseg_edge.export.parity import Branch, compare, golden_clip, refuse_beyond_tolerance
from arseg_edge.manifest import (
    FORMAT_VERSION,
    ClassInfo,
    Feature,
    LowResolution,
    Manifest,
    Motion,
    Normalisation,
    Operator,
    Sources,
)

SMALLEST_SIDE, LARGEST_SIDE = 32, 8192
SCALES = (0.3, 0.9)
_DYNAMIC_EXAMPLE = (64, 96)
# Neither is a multiple of 8 or 16 in both directions, and the two differ in shape.
_DYNAMIC_PARITY_SIZES = ((96, 128), (135, 214))
_MACS_SIZE = (720, 960)

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how many of how many steps are behind."""

LrSource = Source | Mapping[float, Source]


def export_bundle(
    family: str | Family | None,
    *,
    hr: Source,
    lr: LrSource,
    out: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
    scale: float | Sequence[float] = 0.5,
    interval: int = 12,
    progress: Progress | None = None,
) -> Bundle:
    """Turn HR and LR + CReFF weights into one bundle, and return it.

    Args:
        family: a published family's name, one of your own, or None to recognise it from the weights' names.
        hr: the HR checkpoint: a ``.pth``, ``.pt`` or ``.safetensors`` file, or a state dict.
        lr: the LR + CReFF checkpoint likewise; ``{scale: checkpoint}`` for several LR scales, each with weights
            of its own.
        out: the bundle to write, ``NAME.arseg``.
        size: (height, width) of the frames, or None for any size.
        scale: the LR scale or scales, 0.3 … 0.9, where ``lr`` does not name them; the first is the default.
        interval: the keyframe interval that the bundle recommends.
        progress: is told how far things are.

    Raises:
        UsageError: a scale, an interval or a name that makes no sense.
        SizeError: a size that cannot be exported.
        CheckpointError: weights that cannot be read or that fit no family.
        ParityError: ONNX Runtime's results differ from PyTorch's; no bundle is written.
        OutputError: the bundle cannot be written.

    Example::

        bundle = export_bundle("camvid-bise18", hr="HR.pth", lr="AR.pth", out="street.arseg")
        print(max(figure.error for figure in bundle.parity))
    """
    path = Path(out)
    if path.suffix != SUFFIX:
        raise UsageError(f"{path}: a bundle's name ends in {SUFFIX}: add it")
    lr_sources = _by_scale(lr, scale)
    _check_arguments(size, lr_sources, interval)
    check_writable(path)
    steps = _Steps(progress, total=len(lr_sources) + 6)

    steps.begin("reading checkpoints")
    hr_checkpoint = read_checkpoint(hr, "hr")
    lr_checkpoints = {each: read_checkpoint(source, "lr") for each, source in lr_sources.items()}
    first = next(iter(lr_checkpoints.values()))
    found = find_family(family) if family is not None else recognise_family(hr_checkpoint, first)
    hr_network = load_hr(found, hr_checkpoint)
    ar_networks = {each: load_ar(found, checkpoint) for each, checkpoint in lr_checkpoints.items()}

    steps.begin("counting multiply-accumulates")
    macs = count_macs(found, size or _MACS_SIZE, list(lr_sources))

    steps.begin(f"exporting {KEYFRAME}")
    example = torch.zeros(1, *(size or _DYNAMIC_EXAMPLE), 3, dtype=torch.uint8)
    facts = _facts(found, interval)
    operators: set[Operator] = set()
    height, width = (torch.export.Dim(name, min=SMALLEST_SIDE, max=LARGEST_SIDE) for name in ("height", "width"))
    key_graph = KeyframeGraph(found, hr_network)
    with torch.no_grad():
        keyframe_feature = key_graph(example)[1]
    model = to_onnx(
        key_graph,
        {"frame": example},
        outputs=key_graph.outputs,
        inner=key_graph.inner,
        dynamic=None if size else {"frame": {1: height, 2: width}},
        metadata=facts,
    )
    operators.update(operators_of(model))
    keyframe = Branch(KEYFRAME, model.SerializeToString(), hr_network)

    nonkeyframes: dict[LowResolution, Branch] = {}
    for index, (each, network) in enumerate(ar_networks.items()):
        low = LowResolution(each, nonkeyframe_member(each, first=index == 0))
        steps.begin(f"exporting {low.member}")
        graph = NonkeyframeGraph(found, network, each)
        inputs: dict[str, Tensor] = {
            "frame": example,
            "keyframe_feature": keyframe_feature,
            "motion": torch.zeros(1, *example.shape[1:3], 2),
        }
        feature_axes = {2: torch.export.Dim("feature_height"), 3: torch.export.Dim("feature_width")}
        frame_axes = {1: height, 2: width}
        dynamic: dict[str, Mapping[int, Any]] = {
            "frame": frame_axes,
            "keyframe_feature": feature_axes,
            "motion": frame_axes,
        }
        model = to_onnx(
            graph,
            inputs,
            outputs=graph.outputs,
            inner=graph.inner,
            dynamic=None if size else dynamic,
            metadata={**facts, "arseg.scale": f"{each:g}"},
        )
        operators.update(operators_of(model))
        nonkeyframes[low] = Branch(low.member, model.SerializeToString(), network)

    steps.begin("comparing with PyTorch on random input")
    sizes = [size] if size else list(_DYNAMIC_PARITY_SIZES)
    figures = []
    clips = [make(*each) for make in (random_clip, structured_clip) for each in sizes]
    for clip, clip_figures in zip(clips, compare(found, keyframe, nonkeyframes, clips), strict=True):
        figures.extend(clip_figures)
        if clip is clips[len(sizes) - 1]:
            steps.begin("comparing with PyTorch on structured input")
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
        kernel_size=found.kernel_size,
        interval=interval,
        motion=Motion("pixel", "dx, dy", "frame to keyframe", found.sampling, found.chaining),
        scales=tuple(nonkeyframes),
        opset=OPSET,
        operators=tuple(sorted(operators, key=lambda operator: operator.name)),
        oldest_onnxruntime=OLDEST_ONNXRUNTIME,
        tools={name: metadata.version(name) for name in ("arseg-edge", "torch", "onnx", "onnxscript")},
        sources=Sources(
            hr_checkpoint.sha256 or "",
            {f"{each:g}": checkpoint.sha256 or "" for each, checkpoint in lr_checkpoints.items()},
        ),
        parity=tuple(figures),
        macs=macs,
        members={},
    )
    members = {branch.member: branch.model for branch in (keyframe, *nonkeyframes.values())}
    bundle = write_bundle(path, manifest, {**members, GOLDEN: golden.to_bytes()})
    steps.end()
    return bundle


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


def _by_scale(lr: LrSource, scale: float | Sequence[float]) -> dict[float, Source]:
    if isinstance(lr, Mapping) and lr and all(isinstance(key, int | float) for key in lr):
        return {float(key): cast(Source, source) for key, source in lr.items()}
    scales = [scale] if isinstance(scale, int | float) else list(scale)
    return {float(each): cast(Source, lr) for each in scales}


def _check_arguments(size: tuple[int, int] | None, lr: Mapping[float, Source], interval: int) -> None:
    if not lr:
        raise UsageError("no LR scale: name at least one, such as 0.5")
    for scale in lr:
        if not SCALES[0] <= scale <= SCALES[1]:
            raise UsageError(f"LR scale {scale:g} is outside {SCALES[0]} … {SCALES[1]}: choose one inside")
        if len(f"{scale:g}") > 6 or float(f"{scale:g}") != scale:
            raise UsageError(f"LR scale {scale!r} has more than four digits: round it")
    if interval < 1:
        raise UsageError(f"keyframe interval {interval} is below 1: choose 1 or more, such as 12")
    if size is not None and not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in size):
        raise SizeError(
            f"size {size[0]}x{size[1]} is outside {SMALLEST_SIDE} … {LARGEST_SIDE}: choose height and width inside"
        )


def _classes(family: Family) -> tuple[ClassInfo, ...]:
    pairs = zip(family.classes.names, family.classes.colours, strict=True)
    return tuple(ClassInfo(name, colour) for name, colour in pairs)


def _facts(family: Family, interval: int) -> dict[str, str]:
    """Return what another program must know to use a graph alone, for its ``metadata_props``."""
    return {
        "arseg.format_version": str(FORMAT_VERSION),
        "arseg.family": family.name,
        "arseg.classes": ",".join(family.classes.names),
        "arseg.interval": str(interval),
        "arseg.motion": "pixels, (dx, dy), frame to keyframe",
        "arseg.chaining": family.chaining,
        "arseg.sampling": family.sampling,
        "arseg.oldest_onnxruntime": OLDEST_ONNXRUNTIME,
    }
