"""Class colours laid over a picture."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from arseg_edge.errors import UsageError
from arseg_edge.runtime.sinks.palette import Palette, palette_table


class Blend:
    """Mixes pictures with the colours of their labels.

    Args:
        palette: RGB colour of each class, uint8 [classes, 3] or rows of three integers.
        opacity: of the class colours, from 0 (only the picture) to 1 (only the colours).

    Raises:
        UsageError: palette or opacity make no sense.
    """

    def __init__(self, palette: Palette, opacity: float) -> None:
        if not 0 <= opacity <= 1:
            raise UsageError(f"opacity {opacity} is not between 0 and 1; 0.5 shows frame and classes alike")
        self._colours = palette_table(palette)[:, np.newaxis]
        self._opacity = opacity

    def __call__(self, rgb: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return RGB uint8 [H, W, 3] of a picture, uint8 [H, W, 3], and its labels, uint8 [H, W]."""
        colours = cv2.applyColorMap(labels, self._colours)
        blend = cv2.addWeighted(colours, self._opacity, rgb, 1 - self._opacity, 0, dst=colours)
        return np.asarray(blend, np.uint8)
