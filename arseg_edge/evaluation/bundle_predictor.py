"""A bundle, evaluated as it is deployed: the runtime's own sessions, with the native library where that is on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from arseg_edge.bundle import Bundle
from arseg_edge.errors import BundleError, OperatorError
from arseg_edge.evaluation.predictor import Frame, Labels, Motion
from arseg_edge.onnx_bytes import without_fusion
from arseg_edge.operators import Chaining
from arseg_edge.palette import ClassSet
from arseg_edge.runtime.inference.native_operators import native_operators
from arseg_edge.runtime.inference.providers import ProviderLike
from arseg_edge.runtime.inference.sessions import load_sessions, open_session
from arseg_edge.runtime.segmenter import Segmenter, Settings
from arseg_edge.runtime.source.open_source import SourceLike
from arseg_edge.runtime.stream import ResultStream


class BundlePredictor:
    """One LR branch of a bundle, beside its HR network."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int,
        providers: ProviderLike | Sequence[ProviderLike] | None = None,
        scale: float | None = None,
        resize: bool = False,
    ) -> None:
        """Load the sessions.

        Args:
            bundle: one that was read.
            threads: of ONNX Runtime for one operator.
            providers: as for ``arseg_edge.load``.
            scale: which LR branch; None for the bundle's first.
            resize: for a bundle of fixed size, resize frames of other sizes to it, and the labels back.

        Raises:
            BundleError: a member is damaged, or there is no branch for ``scale``.
            OperatorError: ONNX Runtime does not take a graph.
            ProviderError: a provider cannot be had.
        """
        manifest = bundle.manifest
        sessions = load_sessions(bundle, providers=providers, threads=threads, scale=scale)
        self._bundle, self._sessions, self._resize = bundle, sessions, resize
        self._ar, self._hr = self._segmenter(manifest.interval), self._segmenter(manifest.interval)
        member = manifest.low_resolution(scale).member
        try:
            alone = without_fusion(bundle.read(member))
        except ValueError as error:
            raise BundleError(f"{bundle.path}: {member}: {error}: export the bundle again") from None
        library = native_operators(sessions.provider)
        self._lr = open_session(alone, sessions.provider, threads, f"{bundle.path}: {member}", library)
        self.name = bundle.path.name
        self.classes = ClassSet(
            tuple(each.name for each in manifest.classes), tuple(each.colour for each in manifest.classes)
        )
        self.interval = manifest.interval
        self.scale = sessions.scale
        self.chaining: Chaining = manifest.motion.chaining
        self.provider = sessions.provider.name
        self.native = sessions.native

    def _segmenter(self, interval: int) -> Segmenter:
        """Return one on the same networks, with a place of its own for the keyframe's feature."""
        return Segmenter(self._bundle, dataclasses.replace(self._sessions), Settings(interval, self._resize))

    def stream(self, source: SourceLike, interval: int) -> ResultStream:
        """Segment a source as it is deployed, with a keyframe at least every ``interval`` frames."""
        return self._segmenter(interval).stream(source)

    def keyframe(self, rgb: Frame) -> Labels:
        """Return HR's labels, and keep the feature for ``ar``."""
        return self._ar.step(rgb, keyframe=True).labels

    def hr(self, rgb: Frame) -> Labels:
        """Return HR's labels; the kept feature stays as it is."""
        return self._hr.step(rgb, keyframe=True).labels

    def ar(self, rgb: Frame, motion: Motion) -> Labels:
        """Return the labels of LR and CReFF with the kept feature; ``motion`` leads to that keyframe."""
        return self._ar.step(rgb, motion=motion).labels

    def lr(self, rgb: Frame) -> Labels:
        """Return the labels of the LR network alone: its feature, the last layer, no fusion."""
        size = rgb.shape[0], rgb.shape[1]
        fixed = self._bundle.manifest.size if self._resize else None
        if fixed is not None and fixed != size:
            rgb = np.asarray(cv2.resize(rgb, fixed[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
        # The graph takes no more of the motion than its size, which says how large the labels shall be.
        still = np.zeros((1, *rgb.shape[:2], 2), np.float32)
        try:
            labels = self._lr.run(["labels"], {"frame": rgb[None], "motion": still})[0][0]
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise OperatorError(
                f"{self.name}: ONNX Runtime failed ({reason}): try `arseg-edge verify` on it"
            ) from error
        if rgb.shape[:2] != size:
            labels = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        return np.asarray(labels, np.uint8)
