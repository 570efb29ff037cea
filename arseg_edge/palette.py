"""The classes of the published models and the colours that they are shown in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255 each."""


@dataclass(frozen=True)
class ClassSet:
    """What the label values mean: value ``i`` is ``names[i]``, drawn in ``colours[i]``."""

    names: tuple[str, ...]
    colours: tuple[Colour, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colours):
            raise ValueError(f"{len(self.names)} class names but {len(self.colours)} colours: give one each")


def distinct_colours(count: int) -> tuple[Colour, ...]:
    """Return ``count`` (at most 256) colours that differ: the colour map of the PASCAL VOC devkit.

    >>> distinct_colours(4)
    ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    """
    # Each channel takes every third bit of the index, the lowest bits becoming the most significant.
    index = np.arange(count)[:, None] >> np.arange(3)
    colours = sum(((index >> 3 * bit) & 1) << (7 - bit) for bit in range(3))
    return tuple((int(r), int(g), int(b)) for r, g, b in np.asarray(colours))


def colour_table(colours: tuple[Colour, ...]) -> NDArray[np.uint8]:
    """Return uint8 [256, 3] to index with labels; values without a colour are black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = colours
    return table


# In the order of the SegNet tutorial, which the published checkpoints were trained with. The networks have
# a twelfth output for what was left unlabelled.
CAMVID: Final = ClassSet(
    names=(
        "sky", "building", "pole", "road", "pavement", "tree",
        "sign", "fence", "car", "pedestrian", "cyclist", "unlabelled",
    ),
    colours=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192), (0, 0, 0),
    ),
)  # fmt: skip

# The eleven classes alone: for networks that are trained with the rest ignored.
CAMVID_11: Final = ClassSet(CAMVID.names[:11], CAMVID.colours[:11])

# The 19 training ids of the Cityscapes benchmark.
CITYSCAPES: Final = ClassSet(
    names=(
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
        "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle",
        "bicycle",
    ),
    colours=(
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60),
        (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
)  # fmt: skip
