"""What a model gives: which of its outputs says the class of each pixel, and in which form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from arseg_edge.errors import ModelError, UsageError
from arseg_edge.export.convert.probing import Size, shapes_of
from arseg_edge.export.convert.request import Layout

MOST_CLASSES: Final = 256


@dataclass(frozen=True)
class ClassOutput:
    """An output at ``size`` (height, width) of the picture that the model saw."""

    name: str
    kind: Literal["logits", "score", "labels"]
    """Numbers for each class, one number (of the foreground), or the class itself."""
    layout: Layout
    rank: int
    channels: int
    """How many classes there are in logits; 1 of the others."""
    size: Size


def class_output(
    name: str,
    outputs: Mapping[str, NDArray[Any]],
    seen: Size,
    *,
    wanted: str | None,
    layout: Layout | None,
    classes: int | None,
) -> ClassOutput:
    """Choose the output that the labels are made of.

    Args:
        name: the model's, for messages.
        outputs: what it gave for a picture.
        seen: the size that it saw.
        wanted: the output that was asked for.
        layout: of the output.
        classes: how many, where that is known.

    Raises:
        ModelError: no output is for pixels.
        UsageError: several may be, or one may be read in two ways.
    """
    if wanted is not None and wanted not in outputs:
        raise UsageError(f"{name}: no output {wanted!r}; it gives {shapes_of(outputs)}: give one of these as --output")
    readings = {each: _readings(each, outputs[each], seen) for each in ([wanted] if wanted else outputs)}
    fitting = {each: found for each, found in readings.items() if found}
    if not fitting:
        raise ModelError(
            f"{name}: not a segmentation model: it gives {shapes_of(outputs)} for a picture of {seen[0]}x{seen[1]}, "
            "none of which has a place for each part of the picture: convert one that gives logits or labels"
        )
    if len(fitting) > 1 and classes is not None:
        narrowed = {each: [one for one in found if one.channels == classes] for each, found in fitting.items()}
        fitting = {each: found for each, found in narrowed.items() if found} or fitting
    # Of a detector, what has places may be anything: masks to be combined, or features.
    strange = [each for each in outputs if each not in readings or (not readings[each] and outputs[each].ndim > 2)]
    if len(fitting) > 1 or (wanted is None and strange):
        raise UsageError(
            f"{name}: gives {shapes_of(outputs)}, and {', '.join(fitting)} may hold the classes of pixels: name the "
            "one that does by --output"
        )
    ((chosen, found),) = fitting.items()
    return _one_reading(name, outputs[chosen], found, layout, classes)


def _one_reading(
    name: str, array: NDArray[Any], readings: list[ClassOutput], layout: Layout | None, classes: int | None
) -> ClassOutput:
    what = f"{name}: output {readings[0].name} is {array.dtype} {list(array.shape)}"
    left = [each for each in readings if layout in (None, each.layout)]
    if not left:
        raise UsageError(f"{what}, which cannot be {layout}: leave --output-layout out")
    if len(left) > 1 and classes is not None:
        left = [each for each in left if each.channels == classes] or left
    if len(left) > 1:
        raise UsageError(
            f"{what}, which may be {left[0].channels} classes of {left[0].size[0]}x{left[0].size[1]}, or "
            f"{left[1].channels} of {left[1].size[0]}x{left[1].size[1]}: give --output-layout nchw or nhwc"
        )
    (only,) = left
    if only.channels > MOST_CLASSES:
        raise ModelError(
            f"{what}: {only.channels} classes, and labels have {MOST_CLASSES} at most: name another --output"
        )
    return only


def _readings(name: str, array: NDArray[Any], seen: Size) -> list[ClassOutput]:
    """Return the ways in which an output can be about the parts of a picture."""
    shape = array.shape
    whole, real = array.dtype.kind in "iub", array.dtype.kind == "f"
    if not (whole or real) or not 2 <= array.ndim <= 4 or (array.ndim > 2 and shape[0] != 1):
        return []
    if array.ndim < 4:
        size = shape[-2:]
        kind: Literal["score", "labels"] = "labels" if whole else "score"
        fits = _over(size, seen) and (array.ndim == 3 or whole)
        return [ClassOutput(name, kind, "nchw", array.ndim, 1, (size[0], size[1]))] if fits else []
    found = []
    ways: tuple[tuple[Layout, int, tuple[int, int]], ...] = (
        ("nchw", shape[1], (shape[2], shape[3])),
        ("nhwc", shape[3], (shape[1], shape[2])),
    )
    for layout, channels, size in ways:
        if _over(size, seen) and (channels == 1 or real):
            of: Literal["logits", "score", "labels"] = "logits" if channels > 1 else "labels" if whole else "score"
            found.append(ClassOutput(name, of, layout, 4, channels, size))
    return found


def _over(size: tuple[int, ...], seen: Size) -> bool:
    """Whether a grid may lie over a picture of that size: it has the proportions, up to a cell."""
    rows, columns = size
    if rows < 2 or columns < 2:
        return False
    strides = seen[0] / rows, seen[1] / columns
    stride = max(strides)
    return 0.2 < stride <= 64 and abs(strides[0] - strides[1]) <= 1.01 * stride * stride / min(seen) + 1e-9


def check_values(name: str, output: ClassOutput, array: NDArray[Any], classes: int) -> None:
    """Refuse labels that are of no class.

    Raises:
        UsageError: one is.
    """
    if output.kind == "labels" and array.size and not 0 <= int(array.min()) <= int(array.max()) < classes:
        raise UsageError(
            f"{name}: output {output.name} has labels from {int(array.min())} to {int(array.max())}, and there are "
            f"{classes} classes: give as many as there are by --classes"
        )


def as_planes(array: NDArray[Any], output: ClassOutput) -> NDArray[Any]:
    """Return an output as [channels, height, width]."""
    rows, columns = array.shape[-2:] if output.layout == "nchw" else array.shape[-3:-1]
    if output.layout == "nhwc":
        return np.moveaxis(array.reshape(rows, columns, -1), -1, 0)
    return array.reshape(-1, rows, columns)
