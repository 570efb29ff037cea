"""What evaluation asks of a pair of networks, whatever runs them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from arseg_edge.operators import Chaining
from arseg_edge.palette import ClassSet

Frame = NDArray[np.uint8]
"""RGB uint8 [H, W, 3]."""
Labels = NDArray[np.uint8]
"""uint8 [H, W], an index into the predictor's classes for every pixel."""
Motion = NDArray[np.float32]
"""float32 [H, W, 2], pixels, (dx, dy) from the frame to the keyframe."""


class Predictor(Protocol):
    """An HR network, and mostly an LR network with its fusion: a bundle, or a pair of checkpoints."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def classes(self) -> ClassSet:
        """What the labels mean."""

    @property
    def interval(self) -> int:
        """The keyframe interval that it recommends."""

    @property
    def scale(self) -> float | None:
        """Of the LR branch; None where there is HR alone, of which ``ar`` and ``lr`` cannot be asked."""

    @property
    def gives_lr(self) -> bool:
        """Whether ``lr`` can be asked: not of a bundle of format 1, nor of HR alone."""

    @property
    def chaining(self) -> Chaining:
        """How the motion that ``ar`` takes should be chained."""

    def keyframe(self, rgb: Frame) -> Labels:
        """Return HR's labels, and keep the feature for ``ar``."""

    def hr(self, rgb: Frame) -> Labels:
        """Return HR's labels; the kept feature stays as it is."""

    def ar(self, rgb: Frame, motion: Motion) -> Labels:
        """Return the labels of LR and CReFF with the kept feature; ``motion`` leads to that keyframe.

        Raises ``SequenceError`` before any keyframe.
        """

    def lr(self, rgb: Frame) -> Labels:
        """Return the labels of the LR network alone: its feature, the last layer, no fusion."""
