"""What a network makes of a frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from arseg_edge.runtime.labels.uniform import uniform_labels

Labels = npt.NDArray[np.uint8]
"""[H, W]."""

Confidence = npt.NDArray[np.uint8]
"""[H, W]: how sure each label is, 255 for all of the softmax."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Labels, and what they were made from, for frames that draw on this one."""

    labels: Labels
    """uint8 [H, W]."""
    logits: npt.NDArray[np.float32] | None
    """float32 [h, w, classes]; None where nobody asked for them, or the bundle gives none."""
    confidence: Confidence | None = None
    """uint8 [H, W]; None where nobody asked for it."""

    def for_callers(self) -> Seen:
        """Return copies without the logits: whoever gets labels may draw on them, others are made of these here."""
        return Seen(self.labels.copy(), None, None if self.confidence is None else self.confidence.copy())

    @cached_property
    def uniform(self) -> npt.NDArray[np.uint8]:
        """Where ``labels`` are all the same (``uniform_labels``), found when first asked for."""
        return uniform_labels(self.labels)

    @cached_property
    def unsure(self) -> npt.NDArray[np.uint8] | None:
        """0 where all of ``confidence`` is 255, on the grid of ``uniform``; None without it."""
        if self.confidence is None:
            return None
        return uniform_labels((self.confidence != 255).view(np.uint8))
