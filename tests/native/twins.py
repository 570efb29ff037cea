"""The native operators written again in NumPy, as plainly as their contracts read, in float64.

Only clarity counts here: loops over kernel offsets, whole-array arithmetic, no sharing of tricks with the kernels.
Every function takes and returns what the ONNX operator does; float results are returned as float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FloatImage = NDArray[np.float32]


def _corners_aligned(size: int, to: int) -> Array:
    """Source positions of a resize that puts the outer samples onto each other; a single sample reads the first."""
    return np.zeros(1) if to == 1 else np.arange(to) * ((size - 1) / (to - 1))


def _half_pixel(size: int, to: int) -> Array:
    """Source positions of a resize that puts the outer edges onto each other, clamped to the border."""
    return np.clip((np.arange(to) + 0.5) * size / to - 0.5, 0, size - 1)


def _interpolate(array: Array, positions: Array, axis: int) -> Array:
    size = array.shape[axis]
    first = np.minimum(np.floor(positions).astype(int), size - 1)
    second = np.minimum(np.ceil(positions).astype(int), size - 1)
    share = (positions - first).reshape([-1 if i == axis else 1 for i in range(array.ndim)])
    return np.take(array, first, axis) * (1 - share) + np.take(array, second, axis) * share


def resize(array: Array, height: int, width: int, *, aligned: bool, axes: tuple[int, int]) -> Array:
    """Bilinear resize of two axes without antialiasing."""
    rule = _corners_aligned if aligned else _half_pixel
    for axis, size in zip(axes, (height, width), strict=True):
        array = _interpolate(array, rule(array.shape[axis], size), axis)
    return array


def motion_warp(feature: FloatImage, motion: FloatImage, sampling: str) -> FloatImage:
    """Sample ``feature`` [N, C, h, w] at (x + dx, y + dy); see ``export/operators`` for the two sampling rules."""
    batch, channels, h, w = feature.shape
    frame_height, frame_width = motion.shape[1:3]
    displacement = motion.astype(np.float64)
    with np.errstate(invalid="ignore"):
        if sampling == "published":
            displacement = displacement * (h / frame_height)
        else:
            largest = float(np.finfo(np.float32).max)
            displacement = np.nan_to_num(displacement, nan=0.0, posinf=largest, neginf=-largest)
            displacement = displacement * np.array([w / frame_width, h / frame_height])
        displacement = resize(displacement, h, w, aligned=sampling == "published", axes=(1, 2))
        x = np.arange(w) + displacement[..., 0]
        y = np.arange(h)[:, None] + displacement[..., 1]
    if sampling == "published":
        valid = np.isfinite(x) & np.isfinite(y)
        x = x * w / (w - 1) - 0.5 if w > 1 else x
        y = y * h / (h - 1) - 0.5 if h > 1 else y
        x, y = np.where(valid, np.clip(x, -9, w + 9), -9), np.where(valid, np.clip(y, -9, h + 9), -9)
    else:
        x, y = np.clip(x, 0, w - 1), np.clip(y, 0, h - 1)

    result = np.zeros((batch, channels, h, w))
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    for tap_y, weight_y in ((top, top + 1 - y), (top + 1, y - top)):
        for tap_x, weight_x in ((left, left + 1 - x), (left + 1, x - left)):
            inside = (tap_x >= 0) & (tap_x < w) & (tap_y >= 0) & (tap_y < h)
            for n in range(batch):
                taps = feature[n][:, np.where(inside, tap_y, 0)[n], np.where(inside, tap_x, 0)[n]]
                result[n] += np.where(inside[n], taps * (weight_x * weight_y)[n], 0.0)
    return result.astype(np.float32)


def local_attention(query: FloatImage, key: FloatImage, value: FloatImage, kernel_size: int) -> FloatImage:
    """Softmax over the kernel_size² dot products around each pixel, zeros outside the image taking part."""
    h, w = query.shape[2:]
    pad = kernel_size // 2
    around = ((0, 0), (0, 0), (pad, pad), (pad, pad))
    keys, values = np.pad(key.astype(np.float64), around), np.pad(value.astype(np.float64), around)
    offsets = [(i, j) for i in range(kernel_size) for j in range(kernel_size)]
    scores = np.stack([(query * keys[:, :, i : i + h, j : j + w]).sum(1) for i, j in offsets])
    weights = np.exp(scores - scores.max(0))
    weights /= weights.sum(0)
    result = np.zeros(query.shape)
    for weight, (i, j) in zip(weights, offsets, strict=True):
        result += weight[:, None] * values[:, :, i : i + h, j : j + w]
    return result.astype(np.float32)


def depthwise_3x3(image: FloatImage, weight: FloatImage, bias: FloatImage) -> FloatImage:
    """Cross-correlate each channel with its own 3×3 weights, zeros outside the image."""
    h, w = image.shape[2:]
    padded = np.pad(image.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    result = np.zeros(image.shape) + bias[:, None, None]
    for i in range(3):
        for j in range(3):
            result += padded[:, :, i : i + h, j : j + w] * weight[:, 0, i, j][:, None, None]
    return result.astype(np.float32)


def creff(
    lr_feature: FloatImage,
    keyframe_feature: FloatImage,
    motion: FloatImage,
    query_weight: FloatImage,
    query_bias: FloatImage,
    key_weight: FloatImage,
    key_bias: FloatImage,
    value_weight: FloatImage,
    value_bias: FloatImage,
    head_weight: FloatImage,
    head_bias: FloatImage,
    *,
    sampling: str,
    kernel_size: int,
) -> FloatImage:
    """CReFF and the final 1×1 convolution, step by step on whole arrays."""
    h, w = keyframe_feature.shape[2:]
    resized = resize(lr_feature.astype(np.float64), h, w, aligned=True, axes=(2, 3)).astype(np.float32)
    warped = motion_warp(keyframe_feature, motion, sampling)
    query = depthwise_3x3(resized, query_weight, query_bias)
    key = depthwise_3x3(warped, key_weight, key_bias)
    value = depthwise_3x3(warped, value_weight, value_bias)
    fused = resized + local_attention(query, key, value, kernel_size)
    head = head_weight[:, :, 0, 0].astype(np.float64)
    logits = np.einsum("nc,bchw->bnhw", head, fused) + head_bias[:, None, None]
    return logits.astype(np.float32)


def full_logits(logits: FloatImage, size: NDArray[np.int64], upscale: int, align_corners: int = 1) -> Array:
    """The logits that :func:`segmentation_labels` takes the maximum of."""
    full = logits.astype(np.float64)
    if upscale > 1:
        h, w = logits.shape[2:]
        full = resize(full, h * upscale, w * upscale, aligned=False, axes=(2, 3))
    return resize(full, int(size[0]), int(size[1]), aligned=bool(align_corners), axes=(2, 3))


def segmentation_labels(
    logits: FloatImage, size: NDArray[np.int64], upscale: int, align_corners: int = 1
) -> NDArray[np.uint8]:
    """Upsample by ``upscale``, resize to ``size``, take the first largest class."""
    return full_logits(logits, size, upscale, align_corners).argmax(1).astype(np.uint8)


def normalize_image(
    frame: NDArray[np.uint8], size: NDArray[np.int64], mean: tuple[float, ...], std: tuple[float, ...]
) -> FloatImage:
    """Resize with corners aligned, scale to 0…1, normalise, put channels first."""
    resized = resize(frame.astype(np.float64), int(size[0]), int(size[1]), aligned=True, axes=(1, 2))
    normal = (resized / 255 - np.array(mean)) / np.array(std)
    return normal.transpose(0, 3, 1, 2).astype(np.float32)
