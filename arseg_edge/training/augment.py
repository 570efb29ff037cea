"""Augmentation of pairs: image, labels, keyframe and motion change together.

One affine map A takes each pixel of the result to where it comes from. Image, labels and keyframe are looked
up through it. Motion is looked up too, and turned by the inverse of A's linear part L: a pixel p of the result
shows A(p), which lies at A(p) + m in the keyframe, and that is at p + L⁻¹·m in the augmented keyframe. So
warping the augmented keyframe by the augmented motion still lands on the augmented frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.datasets import IGNORED
from arseg_edge.training.pairs import Image, LabelledFrame, Pair

Affine = npt.NDArray[np.float64]
"""float64 [2, 3]: from (x, y, 1) in the result to (x, y) in the source, both in pixels."""


@dataclass(frozen=True)
class Augmentation:
    """How far pairs are changed; the defaults suit road scenes."""

    crop: tuple[int, int] = (320, 416)
    """Height and width of the result."""
    smallest: float = 0.6
    largest: float = 1.8
    """The scale is drawn between these two, evenly in its logarithm."""
    rotation: float = 4.0
    """Degrees at most, to either side."""
    flip: bool = True
    """Mirror every second pair, left to right."""
    colour: float = 0.3
    """Brightness, contrast, saturation and gamma change by up to this share, hue by a tenth of it."""


@dataclass(frozen=True, eq=False)
class Transform:
    """One change, to be made to everything that belongs together."""

    affine: Affine
    size: tuple[int, int]
    """Height and width of the result."""
    colours: npt.NDArray[np.float32]
    """float32 [3, 3], from RGB to RGB."""
    levels: npt.NDArray[np.uint8]
    """uint8 [256], what becomes of each level."""

    def image(self, image: Image) -> Image:
        """Change uint8 [H, W, 3]; beyond its borders it is mirrored."""
        moved = self._look_up(image, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101)
        return np.asarray(cv2.LUT(cv2.transform(moved, self.colours), self.levels), np.uint8)

    def labels(self, labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Change uint8 [H, W]; beyond its borders it is ``IGNORED``."""
        return np.asarray(self._look_up(labels, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT), np.uint8)

    def motion(self, motion: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """Change [H, W, 2], in pixels, to what it is between the changed frame and keyframe."""
        moved = self._look_up(motion.astype(np.float32), cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
        inverse = np.linalg.inv(self.affine[:, :2]).astype(np.float32)
        return np.asarray(moved @ inverse.T, np.float32)

    def _look_up(self, source: npt.NDArray[Any], interpolation: int, border: int) -> npt.NDArray[Any]:
        return np.asarray(
            cv2.warpAffine(
                source, self.affine, self.size[::-1],
                flags=interpolation | cv2.WARP_INVERSE_MAP, borderMode=border, borderValue=IGNORED,
            )
        )  # fmt: skip


def draw_transform(size: tuple[int, int], settings: Augmentation, rng: np.random.Generator) -> Transform:
    """Draw a change for pictures of ``size`` (H, W)."""
    return Transform(_draw_affine(size, settings, rng), settings.crop, *_draw_colours(settings.colour, rng))


def augment_frame(frame: LabelledFrame, settings: Augmentation, rng: np.random.Generator) -> LabelledFrame:
    """Return the frame as another camera would have seen it."""
    height, width = frame.labels.shape
    transform = draw_transform((height, width), settings, rng)
    return LabelledFrame(transform.image(frame.image), transform.labels(frame.labels))


def augment(pair: Pair, settings: Augmentation, rng: np.random.Generator) -> Pair:
    """Return the pair as another camera would have seen it."""
    height, width = pair.labels.shape
    transform = draw_transform((height, width), settings, rng)
    return Pair(
        image=transform.image(pair.image),
        labels=transform.labels(pair.labels),
        keyframe=transform.image(pair.keyframe),
        motion=transform.motion(pair.motion).astype(np.float16),
        distance=pair.distance,
    )


def _draw_affine(size: tuple[int, int], settings: Augmentation, rng: np.random.Generator) -> Affine:
    """The crop lies within the scaled source where that is large enough, and is centred on it where not."""
    scale = np.exp(rng.uniform(np.log(settings.smallest), np.log(settings.largest)))
    angle = np.deg2rad(rng.uniform(-settings.rotation, settings.rotation))
    mirrored = -1.0 if settings.flip and rng.random() < 0.5 else 1.0
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    linear = np.array([[cosine * mirrored, -sine], [sine * mirrored, cosine]])
    source, crop = np.array(size[::-1], float), np.array(settings.crop[::-1], float)
    room = np.maximum(source - crop / scale, 0)
    centre = (source - 1) / 2 + room * (rng.random(2) - 0.5)
    offset = centre - linear @ ((crop - 1) / 2)
    return np.concatenate([linear, offset[:, None]], axis=1)


def _draw_colours(strength: float, rng: np.random.Generator) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    brightness, contrast, saturation = 1 + strength * rng.uniform(-1, 1, 3)
    gamma = np.exp(strength * rng.uniform(-1, 1))
    turn = 0.1 * strength * rng.uniform(-1, 1) * 2 * np.pi
    levels = (((np.arange(256) / 255) ** gamma - 0.5) * contrast + 0.5) * brightness
    # Saturation blends with grey; hue turns colours about the grey axis.
    grey = np.full((3, 3), 1 / 3)
    axis = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    hue = grey + np.cos(turn) * (np.eye(3) - grey) + np.sin(turn) * axis
    mix = saturation * hue + (1 - saturation) * grey
    return mix.astype(np.float32), np.clip(levels * 255 + 0.5, 0, 255).astype(np.uint8)
