"""The sample street with its labels, as a data set on disk."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from clips import STREET
from numpy.typing import NDArray

from arseg_edge.runtime import read_motion

LABELS = STREET.with_name("street-labels.npz")


def street_truth(count: int) -> NDArray[np.uint8]:
    """Return the classes of the first frames, uint8 [count, 360, 480]."""
    with np.load(LABELS) as arrays:
        truth: NDArray[np.uint8] = arrays["labels"][:count]
    return truth


def write_png(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write grey [H, W] or RGB [H, W, 3]."""
    picture = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return path


def write_camvid_street(folder: Path, count: int) -> Path:
    """Write the first frames as the split ``val`` of CamVid's folder layout: from twelve on, one labelled clip."""
    for name in ("val", "valannot"):
        (folder / name).mkdir(parents=True)
    truth = street_truth(count)
    for frame in islice(read_motion(STREET), count):
        name = f"0016E5_{frame.index + 1:05d}.png"
        write_png(folder / "val" / name, frame.rgb)
        write_png(folder / "valannot" / name, truth[frame.index])
    return folder
