"""The given model as whoever has it alone would use it: a bare session between ends in NumPy.

Nothing here is shared with the ends in ONNX: what both agree on is right. Resizing is a product with the weights of
each side, labels come from the model's own output, at the size that is asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from arseg_edge.export.convert.class_output import ClassOutput, as_planes
from arseg_edge.export.convert.image_input import ImageInput
from arseg_edge.export.convert.probing import BareSession, Size
from arseg_edge.manifest import ConvertedInput

Floats = NDArray[np.float32]
Window = tuple[int, int, int, int]
"""(top, left, height, width) of the frame in the picture that the model sees."""


class Reference:
    """Makes labels of frames with the model alone."""

    def __init__(
        self, session: BareSession, picture: ImageInput, rule: ConvertedInput, output: ClassOutput, threshold: float
    ) -> None:
        self._session, self._picture, self._rule = session, picture, rule
        self._output, self._threshold = output, threshold

    def labels(self, frame: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
        """Return uint8 [*size] for a frame uint8 [H, W, 3]."""
        image, window, seen = prepared(frame, self._rule, self._picture)
        found = self._session.run(image, [self._output.name])[self._output.name]
        planes = as_planes(found, self._output)
        if self._output.kind == "labels":
            return self._of_labels(planes[0], window, seen, size)
        planes = planes.astype(np.float32)
        if window is not None:
            planes = _cut(np.stack([resized(plane, seen) for plane in planes]), window)
        planes = np.stack([resized(plane, size) for plane in planes])
        if self._output.kind == "score":
            return np.asarray(planes[0] > np.float32(self._threshold), np.uint8)
        return np.asarray(planes.argmax(axis=0), np.uint8)

    @staticmethod
    def _of_labels(labels: NDArray[Any], window: Window | None, seen: Size, size: Size) -> NDArray[np.uint8]:
        if window is not None:
            labels = _cut(_nearest(labels, seen)[None], window)[0]
        return _nearest(labels, size).astype(np.uint8)


def prepared(
    frame: NDArray[np.uint8], rule: ConvertedInput, picture: ImageInput
) -> tuple[NDArray[Any], Window | None, Size]:
    """Return what the model takes for a frame, where the frame lies in it, and the size of the picture."""
    pixels = frame.astype(np.float32)
    colours, _, alpha = rule.channels.partition("+")
    if colours == "bgr":
        pixels = pixels[..., ::-1]
    elif colours == "grey":
        weights = np.array([0.299, 0.587, 0.114], np.float32)
        pixels = np.rint((pixels * weights).sum(axis=-1, keepdims=True))
    height, width = frame.shape[:2]
    window = None
    if rule.resize == "letterbox" and (rule.size is not None or rule.multiple > 1):
        pixels, window = _letterboxed(pixels, rule)
    elif rule.size is not None:
        pixels = _picture(pixels, rule.size, rule.antialias)
    elif rule.multiple > 1:
        step = rule.multiple
        rows, columns = (max(1, (side + step // 2) // step) * step for side in (height, width))
        pixels = _picture(pixels, (rows, columns), rule.antialias)
    if alpha:
        pixels = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.float32)], axis=-1)
    mean, std = (np.array(values, np.float32) for values in (rule.mean, rule.std))
    values = (pixels * np.float32(rule.scale) - mean) / std
    image = (values if picture.layout == "nhwc" else np.moveaxis(values, -1, 0))[None]
    seen = pixels.shape[0], pixels.shape[1]
    return np.ascontiguousarray(image.astype(picture.dtype)), window, seen


def _letterboxed(pixels: Floats, rule: ConvertedInput) -> tuple[Floats, Window]:
    height, width = pixels.shape[:2]
    if rule.size is None:
        rows, columns = (-(-side // rule.multiple) * rule.multiple for side in (height, width))
        inner = height, width
    else:
        rows, columns = rule.size
        ratio = min(rows / height, columns / width)
        inner = max(1, int(height * ratio + 0.5)), max(1, int(width * ratio + 0.5))
        pixels = _picture(pixels, inner, rule.antialias)
    top, left = (rows - inner[0]) // 2, (columns - inner[1]) // 2
    whole = np.full((rows, columns, pixels.shape[2]), rule.fill, np.float32)
    whole[top : top + inner[0], left : left + inner[1]] = pixels
    return whole, (top, left, *inner)


def _picture(pixels: Floats, size: Size, antialias: bool) -> Floats:
    """Return whole numbers, as a picture of bytes has."""
    planes = [resized(plane, size, antialias) for plane in np.moveaxis(pixels, -1, 0)]
    return np.rint(np.stack(planes, axis=-1))


def resized(plane: Floats, size: Size, antialias: bool = False) -> Floats:
    """Return [h, w] bilinearly resized with half-pixel centres; with ``antialias`` as Pillow does it."""
    if plane.shape == size:
        return plane
    rows, columns = (_weights(have, want, antialias) for have, want in zip(plane.shape, size, strict=True))
    return np.asarray(rows @ plane @ columns.T, np.float32)


def _weights(have: int, want: int, antialias: bool) -> Floats:
    """Return [want, have]: what each pixel that is wanted takes of those that there are."""
    ratio = have / want
    centres = (np.arange(want) + 0.5) * ratio - 0.5
    if antialias and ratio > 1:
        weights = np.clip(1 - np.abs(np.arange(have) - centres[:, None]) / ratio, 0, None)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
    clipped = np.clip(centres, 0, have - 1)
    low = np.minimum(clipped.astype(np.int64), max(0, have - 2))
    share = clipped - low
    weights = np.zeros((want, have))
    weights[np.arange(want), low] = 1 - share
    weights[np.arange(want), np.minimum(low + 1, have - 1)] += share
    return np.asarray(weights, np.float32)


def _nearest(labels: NDArray[Any], size: Size) -> NDArray[Any]:
    # Of two that are equally near, the later, as PyTorch has it; OpenCV and Pillow take one or the other.
    rows, columns = (
        (2 * np.arange(want) + 1) * have // (2 * want) for have, want in zip(labels.shape, size, strict=True)
    )
    found: NDArray[Any] = labels[rows[:, None], columns]
    return found


def _cut(planes: NDArray[Any], window: Window) -> NDArray[Any]:
    top, left, height, width = window
    return planes[:, top : top + height, left : left + width]
