"""What a network makes of a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.uint8]
"""[H, W]."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Labels, and what they were made from, for frames that draw on this one."""

    labels: Labels
    """uint8 [H, W]."""
    logits: npt.NDArray[np.float32] | None
    """float32 [h, w, classes]; None where nobody asked for them, or the bundle gives none."""
