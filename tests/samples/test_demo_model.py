"""The demo model on the sample street: what it sees is there, and motion helps only the right way round."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import arseg_edge
from arseg_edge.runtime import MotionFrame, read_motion

SAMPLES = Path(__file__).parents[2] / "samples"
CLASSES = 11

Motion = NDArray[np.float32]


@pytest.fixture(scope="module")
def frames() -> list[MotionFrame]:
    return list(read_motion(SAMPLES / "street.mp4", interval=12))


def mean_iou(frames: list[MotionFrame], change: Callable[[Motion], Motion]) -> float:
    """Return the mIoU in percent over all frames, keyframes too, with every motion changed."""
    truth = np.load(SAMPLES / "street-labels.npz")["labels"]
    confusion = np.zeros(CLASSES * CLASSES)
    with arseg_edge.load() as segmenter:
        for frame in frames:
            motion = None if frame.motion is None else change(frame.motion)
            labels = segmenter.step(frame.rgb, motion=motion, keyframe=frame.is_keyframe).labels
            pairs = truth[frame.index].ravel().astype(np.int64) * CLASSES + labels.ravel()
            confusion += np.bincount(pairs, minlength=CLASSES * CLASSES)
    counts = confusion.reshape(CLASSES, CLASSES)
    hits = np.diag(counts)
    return float(100 * (hits / (counts.sum(0) + counts.sum(1) - hits)).mean())


def test_accuracy(frames: list[MotionFrame]) -> None:
    right = mean_iou(frames, lambda motion: motion)
    none = mean_iou(frames, np.zeros_like)
    wrong = mean_iou(frames, np.negative)
    assert right > 74
    assert right > none + 5 > wrong + 10
