"""Small pictures in files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]


def write_picture(path: Path, picture: Picture) -> Path:
    """Write uint8 [H, W] or RGB uint8 [H, W, 3]; the folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = picture if picture.ndim == 2 else np.ascontiguousarray(picture[..., ::-1])
    assert cv2.imwrite(str(path), stored)
    return path
