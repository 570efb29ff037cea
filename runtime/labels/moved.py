"""Labels of frames that a network saw, moved along the motion to a frame that none saw.

Each source is such a frame: its labels, the logits that they were made from, where the content of the frame lies in
it, and a weight for each block that says how well it shows what the frame shows. A pixel takes the label that stands
at its place in the sources. Where these disagree, at the edges of things and where something was covered, the logits
at those places are added by weight, and the largest sum gives the label; of bundles without logits the weights alone
decide.

How sure a moved label is: of the sources, those count that say the same at that place, each with how sure it is; the
others count as 0; the mean of that by weight is multiplied by how well the frame is shown by the source that shows it
best. So it is at most what the sources said, less where they disagree, and 0 where none shows what the frame shows.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from arseg_edge.runtime.labels.seen import Confidence, Labels, Seen
from arseg_edge.runtime.motion.vectors import BLOCK
from arseg_edge.runtime.native import library

MOST_SOURCES: Final = 4

_FAR: Final = 65536.0

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LogitsPlace:
    """Where in the logits a pixel of the labels lies: ``scale`` x pixel + ``offset``, as (x, y)."""

    scale: tuple[float, float]
    offset: tuple[float, float]


def logits_place(
    labels_size: tuple[int, int], logits_size: tuple[int, int], *, upscale: int, align_corners: bool
) -> LogitsPlace:
    """Return the place by the rule that ``SegmentationLabels`` has: enlarged ``upscale`` times, then resized.

    Sizes are (height, width). See ``export/operators/segmentation_labels.py``.

    >>> logits_place((80, 160), (10, 20), upscale=8, align_corners=True).scale
    (0.125, 0.125)
    """
    scales, offsets = [], []
    for pixels, cells in zip(labels_size[::-1], logits_size[::-1], strict=True):
        enlarged = cells * upscale
        if align_corners:
            ratio, shift = (enlarged - 1) / (pixels - 1) if pixels > 1 else 0.0, 0.0
        else:
            ratio = enlarged / pixels
            shift = 0.5 * ratio - 0.5
        scales.append(ratio / upscale)
        offsets.append((shift + 0.5) / upscale - 0.5)
    return LogitsPlace((scales[0], scales[1]), (offsets[0], offsets[1]))


@dataclass(frozen=True, eq=False)
class Moved:
    """A frame that a network saw, as another frame sees it."""

    seen: Seen
    motion: Floats
    """float32 [rows, columns, 2], (dx, dy) in blocks of 8x8 pixels, from the frame to the one that was seen."""
    weight: Floats
    """float32 [rows, columns], none below 0."""
    shown: Floats | None = None
    """float32 [rows, columns], 0 to 1: how well the frame that was seen shows what the frame shows; for the confidence
    alone. None: all of it."""


def moved_labels(sources: Sequence[Moved], classes: int, place: LogitsPlace | None) -> tuple[Labels, Confidence | None]:
    """Return the labels, uint8 [H, W], of a frame from 1 to ``MOST_SOURCES`` that were seen, and how sure they are.

    The confidence, uint8 [H, W] too, is None where one of the sources does not say it.

    Args:
        sources: of equal size.
        classes: how many; labels are below it.
        place: where a pixel lies in the logits; None to leave logits aside.
    """
    output = np.empty_like(sources[0].seen.labels)
    sure = np.empty_like(output) if all(source.seen.confidence is not None for source in sources) else None
    if not all(source.seen.logits is not None for source in sources):
        place = None
    if not _natively(sources, classes, place, output, sure):
        _in_numpy(sources, classes, place, output, sure)
    return output, sure


def _in_numpy(
    sources: Sequence[Moved], classes: int, place: LogitsPlace | None, output: Labels, sure: Confidence | None = None
) -> None:
    height, width = output.shape
    steps = [_spread(source.motion, height, width) for source in sources]
    rows, columns = np.indices((height, width))
    there = [
        (
            np.clip(rows + np.rint(step[..., 1]).astype(np.int64), 0, height - 1),
            np.clip(columns + np.rint(step[..., 0]).astype(np.int64), 0, width - 1),
        )
        for step in steps
    ]
    found = np.stack([source.seen.labels[at] for source, at in zip(sources, there, strict=True)])
    output[:] = found[0]
    y, x = np.nonzero((found != found[0]).any(axis=0))
    sums = np.zeros((len(y), classes), np.float32)
    for source, step, labels in zip(sources, steps, found, strict=True):
        weights = source.weight[
            np.minimum(y // BLOCK, source.weight.shape[0] - 1), np.minimum(x // BLOCK, source.weight.shape[1] - 1)
        ]
        if place is None:
            np.add.at(sums, (np.arange(len(y)), labels[y, x]), weights)
            continue
        assert source.seen.logits is not None
        cells = np.asarray(np.stack([x, y], axis=-1) + step[y, x], np.float32)
        cells = cells * np.array(place.scale, np.float32) + np.array(place.offset, np.float32)
        sums += weights[:, None] * _bilinear(source.seen.logits, cells)
    output[y, x] = sums.argmax(axis=1)
    if sure is None:
        return
    total = np.zeros((height, width), np.float32)
    for source, labels, at, factor in zip(sources, found, there, _factors(sources), strict=True):
        assert source.seen.confidence is not None
        agreed = np.where(labels == output, source.seen.confidence[at], np.uint8(0)).astype(np.float32)
        total += agreed * factor[rows // BLOCK, columns // BLOCK]
    sure[:] = (np.clip(total, 0, 255) + np.float32(0.5)).astype(np.uint8)


def _factors(sources: Sequence[Moved]) -> list[Floats]:
    """How much of a source's confidence counts, [rows, columns]."""
    weights = np.stack([source.weight for source in sources])
    shown = [np.ones_like(each.weight) if each.shown is None else each.shown for each in sources]
    whole = weights.sum(axis=0, dtype=np.float32)
    scale = np.divide(np.max(shown, axis=0), whole, out=np.zeros_like(whole), where=whole > 0)
    return [np.asarray(weight * scale, np.float32) for weight in weights]


def _spread(motion: Floats, height: int, width: int) -> Floats:
    """The motion of each pixel, in pixels, between the centres of blocks."""
    x = (np.arange(width, dtype=np.float32) - 3.5) / BLOCK
    y = (np.arange(height, dtype=np.float32) - 3.5) / BLOCK
    places = np.asarray(np.stack(np.meshgrid(x, y), axis=-1), np.float32).reshape(-1, 2)
    # As far as any picture reaches; what is no number stays where it is.
    pixels = np.nan_to_num(_bilinear(motion, places) * np.float32(BLOCK), nan=0.0, posinf=_FAR, neginf=-_FAR)
    return np.asarray(np.clip(pixels, -_FAR, _FAR), np.float32).reshape(height, width, 2)


def _bilinear(field: Floats, places: Floats) -> Floats:
    """``field`` [h, w, c] at (x, y) [n, 2], which are taken to its border: [n, c]."""
    height, width = field.shape[:2]
    clipped = np.clip(places, 0, np.array([width - 1, height - 1], np.float32)).astype(np.float32)
    low = clipped.astype(np.int64)
    high = np.minimum(low + 1, [width - 1, height - 1])
    share = (clipped - low).astype(np.float32)
    upper = field[low[:, 1], low[:, 0]] * (1 - share[:, :1]) + field[low[:, 1], high[:, 0]] * share[:, :1]
    lower = field[high[:, 1], low[:, 0]] * (1 - share[:, :1]) + field[high[:, 1], high[:, 0]] * share[:, :1]
    return np.asarray(upper * (1 - share[:, 1:]) + lower * share[:, 1:], np.float32)


class _Source(ctypes.Structure):
    """``MovedLabelsSource`` of ``runtime/native/kernels/kernels.h``."""

    _fields_ = [
        (name, ctypes.c_void_p)
        for name in ("labels", "uniform", "logits", "motion", "weight", "confidence", "unsure", "factor")
    ]


class _Arguments(ctypes.Structure):
    """``MovedLabelsArguments``."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("height", "width", "rows", "columns", "sources", "classes")),
        *((name, ctypes.c_int64) for name in ("with_logits", "logits_height", "logits_width")),
        *((name, ctypes.c_float) for name in ("scale_x", "offset_x", "scale_y", "offset_y")),
        ("source", _Source * MOST_SOURCES),
        ("output", ctypes.c_void_p),
        ("confidence", ctypes.c_void_p),
    ]


def _natively(
    sources: Sequence[Moved], classes: int, place: LogitsPlace | None, output: Labels, sure: Confidence | None = None
) -> bool:
    """Whether ``output`` was written: the library must be there, and the arrays of the form that it takes."""
    function = _function()
    blocks = sources[0].weight.shape
    if function is None or not all(_fits(source, output.shape, blocks, classes) for source in sources):
        return False
    logits = sources[0].seen.logits
    arguments = _Arguments(*output.shape, *blocks, len(sources), classes)
    if place is not None and logits is not None:
        arguments.with_logits, (arguments.logits_height, arguments.logits_width) = 1, logits.shape[:2]
        (arguments.scale_x, arguments.scale_y), (arguments.offset_x, arguments.offset_y) = place.scale, place.offset
    factors: Sequence[Floats | None] = [None] * len(sources)
    if sure is not None:
        factors = _factors(sources)
        arguments.confidence = sure.ctypes.data
    for index, (source, factor) in enumerate(zip(sources, factors, strict=True)):
        seen = source.seen
        arrays = [seen.labels, seen.uniform, seen.logits, source.motion, source.weight]
        arrays += [None] * 3 if factor is None else [seen.confidence, seen.unsure, factor]
        arguments.source[index] = _Source(*(None if each is None else each.ctypes.data for each in arrays))
    arguments.output = output.ctypes.data
    return bool(function(ctypes.byref(arguments)))


def _fits(source: Moved, size: tuple[int, ...], blocks: tuple[int, ...], classes: int) -> bool:
    logits = source.seen.logits
    return (
        _is(source.seen.labels, np.uint8, size)
        and _is(source.motion, np.float32, (*blocks, 2))
        and _is(source.weight, np.float32, blocks)
        and (logits is None or _is(logits, np.float32, (*logits.shape[:2], classes)))
        and (source.seen.confidence is None or _is(source.seen.confidence, np.uint8, size))
        and (source.shown is None or _is(source.shown, np.float32, blocks))
    )


def _is(array: npt.NDArray[Any], dtype: npt.DTypeLike, shape: tuple[int, ...]) -> bool:
    return array.shape == shape and array.dtype == dtype and array.flags.c_contiguous


@cache
def _declared(loaded: ctypes.CDLL) -> Any:
    function = getattr(loaded, "arseg_moved_labels", None)
    if function is not None:
        function.argtypes, function.restype = [ctypes.POINTER(_Arguments)], ctypes.c_int
    return function


def _function() -> Any:
    loaded = library()
    return None if loaded is None else _declared(loaded)
