"""From an ONNX file to a bundle with HR alone: look, put the ends on, compare, write."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import onnxruntime

from arseg_edge.bundle import GOLDEN, KEYFRAME, SUFFIX, Bundle, check_writable, write_bundle
from arseg_edge.errors import UsageError
from arseg_edge.export.convert.arithmetic import count_macs
from arseg_edge.export.convert.beside import read_beside
from arseg_edge.export.convert.classes import read_classes
from arseg_edge.export.convert.comparing import compared, golden_clip
from arseg_edge.export.convert.given_model import GivenModel, read_model
from arseg_edge.export.convert.looking import SMALLEST_SIDE, Looked, look
from arseg_edge.export.convert.request import Layout, Request, Resize
from arseg_edge.export.convert.rule import check_request
from arseg_edge.export.tool_versions import tool_versions
from arseg_edge.manifest import (
    FORMAT_VERSION,
    Macs,
    Manifest,
    Operator,
    Sources,
)
from arseg_edge.operators import DOMAIN, SEGMENTATION_LABELS, VERSION
from arseg_edge.palette import ClassSet

LARGEST_INTERVAL: Final = 100_000
_LARGEST_SIDE: Final = 8192
_TOOLS: Final = ("arseg-edge", "onnx", "onnxruntime", "onnxruntime-gpu")
_RUNTIME_OF_OPSET: Final = {20: "1.17", 21: "1.18", 22: "1.20"}
"""The oldest ONNX Runtime that takes an opset; of later ones, the one that ran it here is said."""


class HalfWeightsWarning(UserWarning):
    """A model was too large to keep its weights as they are."""


Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how many of how many steps are behind."""


def convert_onnx(
    path: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    scale: float | None = None,
    bgr: bool | None = None,
    output: str | None = None,
    resize: Resize | None = None,
    size: tuple[int, int] | Literal["any"] | None = None,
    multiple: int | None = None,
    antialias: bool | None = None,
    fill: int | None = None,
    classes: ClassSet | str | os.PathLike[str] | int | None = None,
    threshold: float | None = None,
    layout: Layout | None = None,
    output_layout: Layout | None = None,
    interval: int = 12,
    half_weights: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Turn a finished ONNX model into a bundle with HR alone, and return it. PyTorch is not needed.

    Frames are prepared and labels made within the bundle's graph. What can be seen of the model is seen, and what
    ``preprocessor_config.json`` and ``config.json`` beside it say is taken; everything else must be given.

    Args:
        path: the ``.onnx`` file; external data lie beside it.
        out: the bundle to write, ``NAME.arseg``.
        mean: of the training, a number or one for each channel, of values ``scale`` · (0 … 255).
        std: the standard deviation likewise.
        scale: by which bytes are multiplied before; None: 1/255.
        bgr: the channels are in the order blue, green, red; False: red, green, blue.
        output: the output that holds the classes of pixels, of several.
        resize: how frames become pictures of the model's size: ``"stretch"`` or ``"letterbox"``.
        size: (height, width) that the model sees, where it takes several; ``"any"``: each frame's own, whatever the
            files beside it say.
        multiple: of which both sides must be multiples; None: it is tried.
        antialias: average what is made smaller, as Pillow does; None: as the files beside it say, or not.
        fill: the grey level around a letterbox; None: 114.
        classes: their names and colours, a ``dataset.yaml`` of the plain data layout that has them, or how many;
            None: those of ``config.json``, or numbers.
        threshold: for a model of one channel, above which a pixel is foreground; None: 0.5 behind a sigmoid.
        layout: the order of the input's axes, ``"nchw"`` or ``"nhwc"``, where that cannot be seen.
        output_layout: that of the output's.
        interval: the keyframe interval that the bundle recommends.
        half_weights: store weights in half precision, for half the size; what is larger than 2 GB is stored so anyway.
        progress: is told how far things are.

    Raises:
        UsageError: something must be given, or what was given makes no sense.
        ModelError: the file is no ONNX model, or one that cannot be converted.
        ParityError: the bundle's labels differ from the model's own on more than one pixel in a thousand; nothing is
            written.
        OutputError: the bundle cannot be written.

    Example::

        bundle = convert_onnx("model.onnx", out="mine.arseg", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
                              bgr=False, resize="stretch")
        print(max(figure.error for figure in bundle.parity))
    """
    target = Path(out)
    if target.suffix != SUFFIX:
        raise UsageError(f"{target}: a bundle's name ends in {SUFFIX}: add it")
    if type(interval) is not int or not 1 <= interval <= LARGEST_INTERVAL:
        raise UsageError(f"keyframe interval {interval!r}: must be a whole number from 1 to {LARGEST_INTERVAL}")
    request = Request(
        mean=_numbers("mean", mean),
        std=_numbers("std", std),
        scale=scale,
        bgr=bgr,
        output=output,
        resize=resize,
        size=size,
        multiple=multiple,
        antialias=antialias,
        fill=fill,
        classes=classes
        if classes is None or isinstance(classes, (ClassSet, int))
        else read_classes(os.fspath(classes)),
        threshold=threshold,
        layout=layout,
        output_layout=output_layout,
    )
    check_request(request)
    check_writable(target)
    tell = progress or (lambda what, done, total: None)
    tell("reading the model", 0, 5)
    given = read_model(Path(path), half_weights=half_weights)
    beside = read_beside(given.path)
    if given.halved and not half_weights:
        warnings.warn(
            f"{given.name} is too large for one file: its weights are stored in half precision",
            HalfWeightsWarning,
            stacklevel=2,
        )
    tell(" and ".join(["looking at the model", *beside.files]), 1, 5)
    looked = look(given, request, beside)
    tell("counting multiply-accumulates", 2, 5)
    macs = Macs(looked.frame_size, count_macs(given, looked.picture, looked.image), {}, None)
    tell("comparing with the model", 3, 5)
    facts = _facts(given, looked, interval)
    graph, figures = compared(given, looked, facts)
    tell(f"writing {target.name}", 4, 5)
    used = (Operator(DOMAIN, SEGMENTATION_LABELS, VERSION),) if looked.back.functions else ()
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        family=facts["arseg.family"],
        classes=looked.classes,
        size=None,
        smallest_size=(SMALLEST_SIDE, SMALLEST_SIDE),
        largest_size=(_LARGEST_SIDE, _LARGEST_SIDE),
        normalisation=None,
        feature=None,
        label_rule=graph.rule,
        kernel_size=None,
        interval=interval,
        motion=None,
        scales=(),
        opset=given.opset,
        operators=used,
        oldest_onnxruntime=_oldest_runtime(given.opset),
        tools=tool_versions(_TOOLS),
        sources=Sources(given.sha256, {}),
        parity=tuple(figures),
        macs=macs,
        members={},
        converted=looked.rule,
    )
    golden = golden_clip(looked).to_bytes()
    bundle = write_bundle(target, manifest, {KEYFRAME: graph.model.SerializeToString(), GOLDEN: golden})
    tell("done", 5, 5)
    return bundle


def _facts(given: GivenModel, looked: Looked, interval: int) -> dict[str, str]:
    stem = " ".join(given.path.stem.split())
    return {
        "arseg.format_version": str(FORMAT_VERSION),
        "arseg.family": (stem if stem.isprintable() else ascii(stem)[1:-1])[:200] or "converted",
        "arseg.classes": ",".join(each.name for each in looked.classes),
        "arseg.interval": str(interval),
        "arseg.oldest_onnxruntime": _oldest_runtime(given.opset),
    }


def _oldest_runtime(opset: int) -> str:
    known = next((version for newest, version in _RUNTIME_OF_OPSET.items() if opset <= newest), None)
    return known or ".".join(onnxruntime.__version__.split(".")[:2])


def _numbers(name: str, values: object) -> tuple[float, ...] | None:
    if values is None:
        return None
    listed = [values] if isinstance(values, (int, float)) else values
    if not isinstance(listed, (list, tuple)) or not listed or not all(type(each) in (int, float) for each in listed):
        raise UsageError(f"{name} {values!r}: must be a number, or one for each channel")
    return tuple(float(each) for each in listed)
