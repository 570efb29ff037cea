"""Things that pass in front of the camera: cut out of labelled stills, and set moving in a clip made of another.

Under a simulated camera all of a still moves together. On a road some things move by themselves: they cover what the
keyframe showed, they uncover what it did not show, and motion vectors are wrong around them. A network learns when not
to trust the keyframe only if training shows it such things.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.datasets.sequence import IGNORED

Image = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]

_SMALLEST, _LARGEST = 0.0015, 0.06
"""Share of the picture that a thing covers."""
_FULLNESS = 0.5
"""Share of its bounding box that it covers at least: a net of branches is no thing."""


@dataclass(frozen=True, eq=False)
class Thing:
    """One piece of one class, cut out."""

    image: Image
    """uint8 [h, w, 3] RGB, its bounding box with a margin."""
    cover: npt.NDArray[np.float32]
    """float32 [h, w], 1 where it is and 0 where not."""
    label: int
    centre: tuple[float, float]
    """Where it was in the still, (x, y) in pixels."""


def cut_out(image: Image, labels: Labels, rng: np.random.Generator) -> Thing | None:
    """Return one thing of a still, or None where there is none.

    A thing is a connected piece of one class, of 0.15 to 6 % of the picture, that lies wholly inside. Every class
    that has some is as likely.

    Args:
        image: uint8 [H, W, 3] RGB.
        labels: uint8 [H, W], the class or ``IGNORED``.
        rng: draws which.
    """
    found = {int(label): _pieces(labels == label) for label in np.unique(labels) if label != IGNORED}
    found = {label: pieces for label, pieces in found.items() if pieces}
    if not found:
        return None
    label = sorted(found)[rng.integers(len(found))]
    mask, (left, top, width, height) = found[label][rng.integers(len(found[label]))]
    rows, columns = slice(top - 1, top + height + 1), slice(left - 1, left + width + 1)
    centre = left + (width - 1) / 2, top + (height - 1) / 2
    return Thing(image[rows, columns], mask[rows, columns].astype(np.float32), label, centre)


def _pieces(mask: npt.NDArray[np.bool_]) -> list[tuple[npt.NDArray[np.bool_], tuple[int, int, int, int]]]:
    """Return each piece and its left, top, width and height; none that touches the border."""
    height, width = mask.shape
    count, numbers, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    pieces = []
    for number in range(1, count):
        x, y, w, h, area = (int(each) for each in boxes[number])
        inside = x > 0 and y > 0 and x + w < width and y + h < height
        if inside and _SMALLEST < area / mask.size < _LARGEST and area > _FULLNESS * w * h:
            pieces.append((numbers == number, (x, y, w, h)))
    return pieces


def let_pass(
    frames: Sequence[Image], labels: Labels, things: Sequence[Thing], rng: np.random.Generator
) -> tuple[list[Image], Labels]:
    """Return the clip with the things moving through it, and the labels of its last frame.

    Args:
        frames: uint8 [H, W, 3] RGB each; they stay as they are.
        labels: uint8 [H, W], of the last frame.
        things: what passes, the later ones in front. Each keeps its height above the ground within a tenth of the
            picture, for it would be of another size elsewhere.
        rng: draws where and how they go.
    """
    drawn, labels = list(frames), labels.copy()
    height, width = labels.shape
    for thing in things:
        mirrored = -1.0 if rng.random() < 0.5 else 1.0
        scale, growth = np.exp(rng.uniform(-0.25, 0.25)), rng.normal(0, 0.012)
        last = np.array([rng.uniform(0, width), thing.centre[1] + rng.uniform(-0.1, 0.1) * height])
        speed = rng.normal(0, 1, 2) * (0.01 * width, 0.002 * height)
        for index, frame in enumerate(drawn):
            back = len(drawn) - 1 - index
            size = scale * np.exp(-growth * back)
            cover, image = _placed(thing, last - back * speed, size * mirrored, size, (height, width))
            drawn[index] = np.rint(frame + cover[..., None] * (image.astype(np.float32) - frame)).astype(np.uint8)
            if back == 0:
                labels[cover > 0.5] = thing.label
    return drawn, labels


def _placed(
    thing: Thing, centre: npt.NDArray[np.float64], across: float, down: float, size: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], Image]:
    """Return where the thing is in a picture of ``size`` (H, W), [H, W], and what it shows there, [H, W, 3]."""
    h, w = thing.cover.shape
    affine = np.array(
        [[across, 0, centre[0] - across * (w - 1) / 2], [0, down, centre[1] - down * (h - 1) / 2]], np.float64
    )
    cover = cv2.warpAffine(thing.cover, affine, size[::-1], flags=cv2.INTER_LINEAR)
    image = cv2.warpAffine(thing.image, affine, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.GaussianBlur(cover, (3, 3), 0), np.float32), np.asarray(image, np.uint8)
