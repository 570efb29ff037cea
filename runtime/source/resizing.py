"""A picture at another size."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def is_smaller(size: tuple[int, int], height: int, width: int) -> bool:
    """Whether ``size`` (H, W) asks for no more rows and no more columns: then pixels are averaged."""
    return size[0] <= height and size[1] <= width


def resized_picture(rgb: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] as [*size, 3]: averaged where it is made smaller, else interpolated (bilinear)."""
    if rgb.shape[:2] == size:
        return rgb
    smaller = is_smaller(size, *rgb.shape[:2])
    return np.asarray(cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR))
