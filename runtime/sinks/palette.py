"""Class colours as a table that covers every label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from arseg_edge.errors import UsageError
from arseg_edge.palette import colour_table

Palette: TypeAlias = npt.NDArray[np.uint8] | Sequence[Sequence[int]]


def palette_table(palette: Palette) -> npt.NDArray[np.uint8]:
    """Return RGB colours, uint8 [256, 3], of up to 256 classes; labels without a class are black.

    Raises:
        UsageError: the palette is not 1 to 256 rows of three values from 0 to 255.
    """
    colours = np.asarray(palette)
    if colours.ndim != 2 or colours.shape[1] != 3 or not 1 <= len(colours) <= 256:
        raise UsageError(f"a palette is 1 to 256 rows of red, green, blue, not of shape {colours.shape}")
    if colours.dtype.kind not in "iu" or colours.min() < 0 or colours.max() > 255:
        raise UsageError("palette colours are whole numbers from 0 to 255; scale the palette")
    return colour_table(tuple((int(red), int(green), int(blue)) for red, green, blue in colours))
