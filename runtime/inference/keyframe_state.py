"""What one stream keeps between its frames: the last keyframe's feature, and the size that the networks saw it at."""

from __future__ import annotations

import onnxruntime

from arseg_edge.runtime.inference.networks import Frame, Networks, Size
from arseg_edge.runtime.labels.seen import Seen
from arseg_edge.runtime.motion.chain import Motion


class KeyframeState:
    """One stream on networks that others may use too; one thread at a time.

    The feature stays where the provider computed it: it is neither copied nor looked at between frames.
    """

    def __init__(self, networks: Networks, *, logits: bool = False, confidence: bool = False) -> None:
        """With ``logits`` the networks are asked for theirs, too, and with ``confidence`` how sure they are."""
        self._networks, self._logits, self._confidence = networks, logits, confidence
        self._feature: onnxruntime.OrtValue | None = None
        self._size = (0, 0)

    def forget(self) -> None:
        """Let go of the keyframe's feature."""
        self._feature = None

    def run_keyframe(self, frame: Frame, labels_size: Size) -> Seen:
        """Return the labels, uint8 of ``labels_size``, of ``frame`` uint8 [H, W, 3], and keep its feature.

        Raises:
            OperatorError: ONNX Runtime fails; then there is no keyframe.
            SequenceError: the networks were closed.
        """
        size = frame.shape[0], frame.shape[1]
        place, self._feature = self._feature, None
        if size != self._size:
            place, self._size = None, size
        seen, self._feature = self._networks.run_keyframe(
            frame, labels_size, place, logits=self._logits, confidence=self._confidence
        )
        return seen

    def run_nonkeyframe(self, frame: Frame, motion: Motion, labels_size: Size) -> Seen:
        """Return the labels, uint8 of ``labels_size``, of ``frame``, with the keyframe that is kept.

        Args:
            frame: uint8 [H, W, 3], of the keyframe's size or the LR network's.
            motion: float32 [a, b, 2], to the keyframe, on any grid over the picture, in cells of that grid.
            labels_size: (height, width).

        Raises: as ``run_keyframe``.
        """
        if self._feature is None and self._networks.has_lr:
            raise RuntimeError("run_nonkeyframe before run_keyframe")
        return self._networks.run_nonkeyframe(
            frame,
            self._feature,
            motion,
            self._size,
            labels_size,
            logits=self._logits,
            confidence=self._confidence,
        )
