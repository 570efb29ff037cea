"""Temporal consistency: do labels stay on what they label, from one frame to the next?

Each pixel of a frame is followed to where it was in the frame before, by optical flow between the two decoded pictures
(``runtime/motion/tracker.py``, without vectors: so it means the same across an intra frame, and for every codec). The
score is the share of pixels whose label is the one that the frame before has there. Only pixels that the frame's truth
labels count. Flow errs too: the truth's own score, where both frames are labelled, is what can be reached.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from arseg_edge.datasets.sequence import IGNORED
from arseg_edge.evaluation.predictor import Labels, Motion
from arseg_edge.runtime.motion.agreement import look_up, pixel_grid
from arseg_edge.runtime.motion.luma import working_luma
from arseg_edge.runtime.motion.tracker import Tracker
from arseg_edge.runtime.source.decoded_frame import DecodedFrame


def motion_between(frame: DecodedFrame, before: DecodedFrame) -> Motion | None:
    """Return the motion from a frame to the one before, float32 [H, W, 2] in pixels; None where their sizes differ."""
    if (frame.height, frame.width) != (before.height, before.width):
        return None
    tracker = Tracker()
    tracker.restart(working_luma(before.picture), frame.height, frame.width)
    return tracker.follow(working_luma(frame.picture), None).motion


def consistent_pixels(
    labels: Labels, before: Labels, motion: Motion, truth: NDArray[np.uint8] | None = None
) -> tuple[int, int]:
    """Count the pixels whose label is that of the frame before where they were, and those compared.

    Args:
        labels: uint8 [H, W]; where they are ``IGNORED``, nothing is compared.
        before: the same of the frame before, likewise.
        motion: float32 [H, W, 2], pixels, from the frame to the one before.
        truth: what is compared is limited to where this is not ``IGNORED``.
    """
    were = look_up(before, pixel_grid(*labels.shape) + motion, cv2.INTER_NEAREST)
    compared = (labels != IGNORED) & (were != IGNORED)
    if truth is not None:
        compared &= truth != IGNORED
    return int(np.count_nonzero((labels == were) & compared)), int(np.count_nonzero(compared))
