"""A bundle, evaluated as it is deployed: the runtime's own sessions, with the native library where that is on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from arseg_edge.bundle import Bundle
from arseg_edge.errors import BundleError, OperatorError, reason_of
from arseg_edge.evaluation.predictor import Frame, Labels, Motion
from arseg_edge.operators import Chaining
from arseg_edge.palette import ClassSet
from arseg_edge.runtime.adaptive import GroupRunner, Looking
from arseg_edge.runtime.inference.keyframe_state import KeyframeState
from arseg_edge.runtime.inference.native_operators import native_operators
from arseg_edge.runtime.inference.network_size import network_size
from arseg_edge.runtime.inference.networks import load_networks
from arseg_edge.runtime.inference.providers import ProviderLike
from arseg_edge.runtime.inference.sessions import feeds_of, open_session
from arseg_edge.runtime.labels.seen import Seen
from arseg_edge.runtime.segmenter import Segmenter, Settings
from arseg_edge.runtime.source.decoded_frame import DecodedFrame
from arseg_edge.runtime.source.open_source import Source, SourceLike
from arseg_edge.runtime.source.resizing import resized_picture
from arseg_edge.runtime.stream import ResultStream


class BundlePredictor:
    """One LR branch of a bundle, if it has any, beside its HR network."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int,
        providers: ProviderLike | Sequence[ProviderLike] | None = None,
        scale: float | None = None,
        size: tuple[int, int] | None = None,
        resize: bool = False,
    ) -> None:
        """Load the sessions.

        Args:
            bundle: one that was read.
            threads: of ONNX Runtime for one operator.
            providers: as for ``arseg_edge.load``.
            scale: which LR branch; None for the bundle's first.
            size: (height, width) that the networks see frames at; None for the frames' own.
            resize: for a bundle of fixed size, resize frames of other sizes to it.

        Raises:
            BundleError: a member is damaged, or there is no branch for ``scale``.
            OperatorError: ONNX Runtime does not take a graph.
            ProviderError: a provider cannot be had.
            SizeError: the networks do not run at ``size``.
        """
        manifest = bundle.manifest
        self._network_size = network_size(manifest, bundle.path.name, size, resize=resize)
        networks = load_networks(bundle, providers=providers, threads=threads, scale=scale)
        self._bundle, self._networks = bundle, networks
        self._settings = Settings(manifest.interval, size, resize, schedule="paper", threads=threads)
        self._ar, self._hr = self._segmenter(self._settings), self._segmenter(self._settings)
        self._seeing = KeyframeState(networks, logits=True)
        self.gives_lr = manifest.format_version > 1 and manifest.has_lr
        if self.gives_lr:
            library = native_operators(networks.provider)
            low = manifest.low_resolution(scale)
            self._lr, self._head = (
                open_session(bundle.read(member), networks.provider, threads, f"{bundle.path}: {member}", library)
                for member in (low.member, low.head)
            )
            self._blank = _blank_feature(self._lr)
        self.name = bundle.path.name
        self.classes = ClassSet(
            tuple(each.name for each in manifest.classes), tuple(each.colour for each in manifest.classes)
        )
        self.interval = manifest.interval
        self.scale: float | None = networks.scale
        self.macs = manifest.macs
        self.chaining: Chaining = manifest.chaining
        self.provider = networks.provider.name
        self.native = networks.native

    def _segmenter(self, settings: Settings) -> Segmenter:
        """Return one on the same networks, which it must not close."""
        return Segmenter(self._bundle, self._networks, settings)

    def stream(self, source: SourceLike | Source, interval: int, **settings: Any) -> ResultStream:
        """Segment a source as it is deployed, with a keyframe at least every ``interval`` frames.

        As in the paper, unless ``settings`` (of ``Settings``, by name) say something else.
        """
        return self._segmenter(replace(self._settings, interval=interval, **settings)).stream(source)

    def group_runner(self, state: Looking | None = None) -> GroupRunner:
        """Return what runs one stream of an adaptive schedule; ``state`` takes the place of the networks."""
        return GroupRunner(
            state or KeyframeState(self._networks, logits=True),
            len(self.classes.names),
            self._bundle.manifest.label_rule,
            provider=self.provider,
            native=self.native,
            threads=self._settings.threads,
        )

    def picture(self, frame: DecodedFrame) -> Frame:
        """Return the picture that the networks take of a frame."""
        own = frame.height, frame.width
        size = self._network_size.of(*own)
        return frame.rgb if size == own else frame.rgb_at(size)

    def see(self, frame: DecodedFrame) -> Seen:
        """Return what HR makes of a frame of a stream, with logits where the bundle gives them."""
        return self._seeing.run_keyframe(self.picture(frame), (frame.height, frame.width))

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
        if not self.gives_lr:
            raise BundleError(
                f"{self.name}: a bundle of format 1 does not give what LR alone says: "
                "make one of format 2 of it by `arseg-edge export --upgrade`"
            )
        size = rgb.shape[0], rgb.shape[1]
        seen = self._network_size.of(*size)
        labels_size = np.array(size, np.int64)
        values: dict[str, NDArray[np.generic]] = {
            "frame": np.ascontiguousarray(resized_picture(rgb, seen))[None],
            "keyframe_feature": self._blank,
            "motion": np.zeros((1, 1, 1, 2), np.float32),
            "frame_size": np.array(seen, np.int64),
            "labels_size": np.ones(2, np.int64),
        }
        try:
            (feature,) = self._lr.run(["lr_feature"], feeds_of(self._lr, values))
            (labels,) = self._head.run(["labels"], {"lr_feature": feature, "labels_size": labels_size})
        except Exception as error:
            raise OperatorError(
                f"{self.name}: ONNX Runtime failed ({reason_of(error)}): try `arseg-edge verify` on it"
            ) from error
        return np.asarray(labels[0], np.uint8)


def _blank_feature(session: onnxruntime.InferenceSession) -> NDArray[np.float32] | NDArray[np.uint8]:
    """Return zeros for the graph's ``keyframe_feature``, two by two where its size is open.

    ONNX Runtime computes the fusion, which ends elsewhere than LR's feature, whether it is asked for or not: of so
    small a feature it takes no time.
    """
    (taken,) = (each for each in session.get_inputs() if each.name == "keyframe_feature")
    shape = [length if isinstance(length, int) else 2 for length in taken.shape]
    return np.zeros(shape, np.uint8) if taken.type == "tensor(uint8)" else np.zeros(shape, np.float32)
